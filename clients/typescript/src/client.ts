// The client: what callers ask for, and what they are told.

import { Backoff } from './backoff.js';
import { SLACK, ServerClock } from './clock.js';
import { Drive, HORIZON, madeAtOf, type Outcome, type Times, type Tools } from './drive.js';
import {
  type Bearer,
  Exchange,
  type GiftReceipt,
  type Receipt,
  type RechargeReceipt,
  type Request,
  type TransferReceipt,
} from './exchange.js';
import { isUsable, mint, ofPayment } from './key.js';
import type { components, operations } from './openapi.js';
import { type Entry, type Intent, NEVER_SENT, type Outbox, OutboxError } from './outbox.js';
import type { Problem } from './problem.js';

type Schemas = components['schemas'];

export interface Options {
  /** Where the server is, `https://pay.example.com`; empty for the server of the page. */
  url: string;
  bearer: Bearer;
  outbox: Outbox;
  /** Of messages for users: an `Accept-Language`. Browsers have their own. */
  language?: string;
  /** How long one attempt may take. Default: 10 s, which is twice what the server allows itself. */
  attemptMs?: number;
  /** How long a call goes on before it answers `pending`. Default: 60 s. */
  patienceMs?: number;
  /** When to stop sending something that was asked for so long ago. Default: never. */
  giveUpMs?: number;
  /** The first wait between attempts and the longest. Default: 100 ms and 10 s. */
  backoffMinMs?: number;
  backoffMaxMs?: number;
  /** This machine's clock, in milliseconds since 1970. */
  clock?: () => number;
  fetch?: typeof globalThis.fetch;
}

/** A gift to one host or several of a room. Without an `event_id` the client makes a key, which is best. */
export type Gift = Schemas['SendGift'] & { room: string | number };
export type Recharge = Schemas['Recharge'];
export type Transfer = Omit<Schemas['Transfer'], 'event_id'> & { event_id?: string };
export type HistoryQuery = NonNullable<operations['ownHistory']['parameters']['query']>;

/** What came of an entry that was left open earlier. */
export interface Settled {
  /** The key that it was first kept under. */
  id: string;
  intent: Intent;
  outcome: Outcome;
}

/** A question that was not answered, with the server's reason where it gave one. */
export class ReadError extends Error {
  override readonly name = 'ReadError';

  constructor(
    message: string,
    readonly problem?: Problem,
  ) {
    super(message);
  }
}

export class Client {
  readonly #tools: Tools;
  readonly #options: Options;
  readonly #passes = new Map<string, string>();
  /** Entries of the outbox that a call is working on, and those that wait for `resume`. */
  readonly #driven = new Map<string, Intent>();
  readonly #left = new Map<string, Entry>();
  #lastMadeAt = 0;

  private constructor(options: Options) {
    const times: Times = {
      attempt: options.attemptMs ?? 10_000,
      patience: options.patienceMs ?? 60_000,
      backoffMin: options.backoffMinMs ?? 100,
      backoffMax: options.backoffMaxMs ?? 10_000,
    };
    const clock = new ServerClock(options.clock ?? Date.now);
    const fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    const url = options.url.replace(/\/+$/, '');
    const exchange = new Exchange(url, options.bearer, clock, times.attempt, options.language, fetch);
    this.#options = options;
    this.#tools = {
      exchange,
      clock,
      outbox: options.outbox,
      times,
      learnTheTime: () => this.#learnTheTime(),
      passOf: (room) => this.#passes.get(room),
      fetchPass: (room) => this.#fetchPass(room),
    };
  }

  /** Reads the outbox. What was left in it waits for `resume`. */
  static async open(options: Options): Promise<Client> {
    const client = new Client(options);
    for (const entry of await options.outbox.entries()) client.#left.set(entry.id, entry);
    return client;
  }

  /** Sends a gift, and resolves when it is applied, or proven not to be, or patience ends. */
  async sendGift(gift: Gift): Promise<Outcome<GiftReceipt>> {
    const { room, event_id, ...body } = gift;
    const intent: Intent = { kind: 'gift', room: String(room), body };
    return (await this.#carryOut(intent, event_id ?? undefined)) as Outcome<GiftReceipt>;
  }

  /** Reports a payment. For services. */
  async recharge(recharge: Recharge): Promise<Outcome<RechargeReceipt>> {
    const id = await ofPayment(recharge.channel, recharge.transaction_id);
    return (await this.#carryOut({ kind: 'recharge', body: recharge }, id)) as Outcome<RechargeReceipt>;
  }

  /** Carries out one transfer. For services. */
  async transfer(transfer: Transfer): Promise<Outcome<TransferReceipt>> {
    const { event_id, ...body } = transfer;
    return (await this.#carryOut({ kind: 'transfer', body }, event_id)) as Outcome<TransferReceipt>;
  }

  /**
   * Goes on with everything that was left open, one after the other in the order in which it was asked for, and tells what
   * came of each. What is still open afterwards is told as `pending` and stays in the outbox.
   */
  async resume(): Promise<Settled[]> {
    const settled: Settled[] = [];
    // Without it, those that were kept without knowing it have no place among the others.
    if (this.#left.size > 0) await this.#learnTheTime();
    const { clock } = this.#tools;
    const left = [...this.#left.values()].sort((a, b) => madeAtOf(a, clock) - madeAtOf(b, clock));
    for (const { id, intent } of left) {
      const entry = this.#takeUp(id);
      if (entry !== undefined) settled.push({ id, intent, outcome: await this.drive(entry, false) });
    }
    return settled;
  }

  /** How many entries wait for `resume`. */
  get leftOpen(): number {
    return this.#left.size;
  }

  /** Takes an entry out of the outbox without knowing what became of it: for what nobody can find out any more. */
  async forget(id: string): Promise<boolean> {
    if (!this.#left.delete(id)) return false;
    await this.#options.outbox.remove(id);
    return true;
  }

  /** Stops at once. What is open stays in the outbox, which others can use from then on. */
  async close(): Promise<void> {
    this.#tools.exchange.stop();
    await this.#options.outbox.close();
  }

  /** One's own balances. With the position of a receipt it waits a moment for the credits of that event. */
  balances(after?: Schemas['Position']): Promise<Schemas['Balances']> {
    return this.#read('/v1/me/balances', afterQuery(after));
  }

  /** A user's balances. For services. */
  balancesOf(user: string | number, after?: Schemas['Position']): Promise<Schemas['Balances']> {
    return this.#read(`/v1/users/${user}/balances`, afterQuery(after));
  }

  /** Balances of up to 50 users, in the order asked. For services. */
  async balancesOfUsers(users: (string | number)[]): Promise<Schemas['BalancesOfUser'][]> {
    const body = { user_ids: users.map(String) };
    const answer = await this.#ask({ method: 'POST', path: '/v1/balances:query', body });
    return (answer as Schemas['BalancesOfUsers']).users;
  }

  /** A page of one's own history. */
  history(query: HistoryQuery = {}): Promise<Schemas['HistoryPage']> {
    return this.#read('/v1/me/history', query);
  }

  /** A page of a user's history. For services. */
  historyOf(user: string | number, query: HistoryQuery = {}): Promise<Schemas['HistoryPage']> {
    return this.#read(`/v1/users/${user}/history`, query);
  }

  /** What a room sells. */
  catalog(room: string | number): Promise<Schemas['RoomCatalog']> {
    return this.#read(`/v1/rooms/${room}/catalog`, {});
  }

  /** The receipt of a key, or nothing if nothing was applied under it so far. A service says whose it is. */
  async receipt(key: string, sender?: string | number): Promise<Receipt | undefined> {
    try {
      return await this.#read(`/v1/gifts/${encodeURIComponent(key)}`, sender === undefined ? {} : { sender });
    } catch (error) {
      if (error instanceof ReadError && error.problem?.code === 'event_unknown') return undefined;
      throw error;
    }
  }

  /** An entry for a gift, which is not kept yet. For `Combos`. */
  prepare(gift: Gift): { entry: Entry; isNew: boolean } {
    const { room, event_id, ...body } = gift;
    return this.#begin({ kind: 'gift', room: String(room), body }, event_id ?? undefined);
  }

  /** Keeps an entry as it is by now. For `Combos`. */
  async keep(entry: Entry): Promise<void> {
    if (this.closed.aborted) throw new OutboxError('the client is closed');
    await this.#options.outbox.put(entry);
  }

  /** Aborted when the client is closed. */
  get closed(): AbortSignal {
    return this.#tools.exchange.stopped;
  }

  /** Nothing was sent for it and nothing will be. For `Combos`. */
  leave(entry: Entry): void {
    this.#driven.delete(entry.id);
  }

  /** Nothing was sent for it yet, and `resume` does. For `Combos`. */
  leaveOpen(entry: Entry): void {
    this.#driven.delete(entry.id);
    this.#left.set(entry.id, entry);
  }

  /** Works on an entry that is kept, to its outcome. Whatever goes wrong, it can be resumed. */
  async drive(entry: Entry, isNew: boolean): Promise<Outcome> {
    let outcome: Outcome | undefined;
    try {
      outcome = await new Drive(this.#tools, entry, isNew).run();
      return outcome;
    } finally {
      this.#driven.delete(entry.id);
      if (outcome === undefined || outcome.outcome === 'pending') this.#left.set(entry.id, entry);
    }
  }

  /** Keeps an entry and works on it. */
  async #carryOut(intent: Intent, own: string | undefined): Promise<Outcome> {
    const driven = own === undefined ? undefined : this.#driven.get(own);
    if (own !== undefined && driven !== undefined && isSame(driven, intent)) {
      // What that call does is done for this one as well, and may be applied yet.
      return { outcome: 'pending', id: own, why: 'another call for the same is under way' };
    }
    const { entry, isNew } = this.#begin(intent, own);
    try {
      if (isNew) await this.keep(entry);
    } catch (error) {
      this.#driven.delete(entry.id);
      if (!(error instanceof OutboxError)) throw new OutboxError(`nothing was sent: ${String(error)}`);
      if (!error.mayBeKept) throw error;
      return { outcome: 'pending', id: entry.id, why: error.message };
    }
    return this.drive(entry, isNew);
  }

  /** Makes a key where the caller has none. The same as an earlier page asked for goes on where that stopped. */
  #begin(intent: Intent, own: string | undefined): { entry: Entry; isNew: boolean } {
    // Never the same moment twice: keys and histories are in the order of what was asked for.
    // Only a clock that turned out to be ahead is followed back.
    const clock = this.#tools.clock.now();
    const next = this.#lastMadeAt + 1;
    const now = next > clock && next < clock + CLOCK_BACK_MS ? next : clock;
    const key = own ?? mint(now);
    if (!isUsable(key)) throw new OutboxError('nothing was sent: a key is 1 to 128 printable ASCII characters');
    const before = this.#left.get(key);
    if (before !== undefined && isSame(before.intent, intent)) {
      return { entry: this.#takeUp(key)!, isNew: false };
    }
    if (before !== undefined || this.#driven.has(key)) {
      throw new OutboxError(`nothing was sent: the key ${key} is in use`);
    }
    this.#lastMadeAt = now;
    this.#driven.set(key, intent);
    const horizon = this.#tools.clock.isKnown ? now + this.#tools.times.attempt + SLACK + HORIZON : NEVER_SENT;
    const entry: Entry = { id: key, key, minted: own === undefined, intent, madeAt: now, horizon };
    if (this.#options.giveUpMs !== undefined) entry.giveUpAt = now + this.#options.giveUpMs;
    return { entry, isNew: true };
  }

  #takeUp(id: string): Entry | undefined {
    const entry = this.#left.get(id);
    if (entry !== undefined) {
      this.#left.delete(id);
      this.#driven.set(id, entry.intent);
    }
    return entry;
  }

  /**
   * Learns the server's time, which keys and deadlines are made from, unless an answer told it before. Tells why not, if
   * it cannot be learnt.
   */
  async #learnTheTime(): Promise<string | undefined> {
    const { clock, exchange } = this.#tools;
    if (clock.isKnown) return undefined;
    const heard = await exchange.hear({ method: 'GET', path: '/healthz', anonymous: true });
    if (heard.is === 'not_sent' || heard.is === 'lost') return heard.why;
    if (!clock.isKnown) clock.sawNone();
    return undefined;
  }

  /** Gets a pass for a room whose gifts need one. */
  async #fetchPass(room: string): Promise<boolean> {
    const path = `/v1/rooms/${encodeURIComponent(room)}/pass`;
    const heard = await this.#tools.exchange.hear({ method: 'POST', path });
    const pass = heard.is === 'json' ? (heard.json as { pass?: unknown } | null)?.pass : undefined;
    if (typeof pass !== 'string') return false;
    if (this.#passes.size >= PASSES_MAX) this.#passes.clear();
    this.#passes.set(room, pass);
    return true;
  }

  #read<T>(path: string, query: Record<string, unknown>): Promise<T> {
    const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
    return this.#ask({ method: 'GET', path: text === '' ? path : `${path}?${text}` }) as Promise<T>;
  }

  /** Questions change nothing: they are asked again until they are answered or patience ends. */
  async #ask(request: Request): Promise<unknown> {
    const { times, exchange } = this.#tools;
    const backoff = new Backoff(times.backoffMin, times.backoffMax);
    const ends = performance.now() + times.patience;
    for (;;) {
      const heard = await exchange.hear(request);
      if (heard.is === 'json') return heard.json;
      const problem = heard.is === 'problem' ? heard.problem : undefined;
      const why = heard.is === 'problem' ? `${heard.problem.code}: ${heard.problem.detail}` : heard.why;
      const wait = backoff.wait(heard.is === 'problem' ? heard.retryAfter : undefined);
      const isLast = exchange.isStopped || performance.now() + wait >= ends;
      if (isLast || problem?.retryable === false) throw new ReadError(why, problem);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** Rooms whose pass is kept; a lost one is fetched again. */
const PASSES_MAX = 1_000;
/** A clock that goes back further than this was wrong before. */
const CLOCK_BACK_MS = 1_000;

/** Whatever the order of the members. */
function isSame(one: unknown, other: unknown): boolean {
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return one === other;
  const members = (of: object) => Object.entries(of).filter(([, value]) => value !== undefined);
  const others = new Map(members(other));
  const ours = members(one);
  return ours.length === others.size && ours.every(([name, value]) => others.has(name) && isSame(value, others.get(name)));
}

function afterQuery(after: Schemas['Position'] | undefined): Record<string, unknown> {
  return after === undefined ? {} : { after: `${after.shard}:${after.seq}` };
}
