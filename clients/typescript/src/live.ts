// What a room shows, as it happens: one socket that comes back by itself, and sums that are never off.

import { Backoff } from './backoff.js';
import type { Bearer } from './exchange.js';
import type { components } from './openapi.js';

type Schemas = components['schemas'];

/** An entry of a room's feed. `delta` is the only part of it that may be summed up. */
export type FeedItem = Schemas['FeedItem'];
/** Sums of one asset in this live. */
export type RoomTotal = Schemas['RoomTotal'];

/** What was given since this client began to look, by what it was shown and nothing else. */
export interface Sum {
  count: number;
  value: number;
  gifts: number;
}

/** The gifts of a busy moment that are not told one by one. */
export interface Rest {
  delta: { count: number; value: number; asset: string };
  events: number;
}

export interface LiveOptions {
  /** Where the server is, `https://live.example.com`; empty for the server of the page. */
  url: string;
  bearer: Bearer;
  room: string | number;
  /** Entries, in order and each once. */
  onItems?: (items: FeedItem[], rest: Rest[]) => void;
  /** Something else about the room has changed: read it from the object. */
  onChange?: () => void;
  /** The first wait before it connects again, and the longest. Default: 200 ms and 10 s. */
  backoffMinMs?: number;
  backoffMaxMs?: number;
  fetch?: typeof globalThis.fetch;
  WebSocket?: typeof globalThis.WebSocket;
}

export type LiveStatus = 'connecting' | 'live' | 'waiting' | 'closed';

interface Joined {
  epoch: string;
  room_seq: number;
  recovered: boolean;
  gap?: { from: number; to: number };
  live: { number: number; state: string };
  totals: RoomTotal[];
  viewers: number;
}

interface Tick {
  from: number;
  to: number;
  items: FeedItem[];
  rest?: Rest[];
  combos_ended?: number[];
  totals?: RoomTotal[];
  viewers: number;
}

/** Entries of one page of the feed, when something was missed. */
const PAGE = 1_000;
/** A token is renewed when so much of its time has passed. */
const RENEW_AT = 0.8;
/** The longest timer there is, in milliseconds. */
const LONGEST = 0x7fffffff;

export class Live {
  status: LiveStatus = 'closed';
  live: { number: number; state: string } | undefined;
  totals: RoomTotal[] = [];
  viewers = 0;
  /** By asset. */
  readonly sums = new Map<string, Sum>();
  /** The last entry that is in the sums. */
  roomSeq = 0;
  /** Why the last socket ended, where the server said so. */
  lastBye: string | undefined;

  readonly #options: LiveOptions;
  #backoff: Backoff;
  #epoch: string | undefined;
  #socket: WebSocket | undefined;
  #timers = new Set<ReturnType<typeof setTimeout>>();
  /** Frames are taken one after the other, also while the feed is being read. */
  #taking: Promise<void> = Promise.resolve();
  #reconnectAfter = 0;

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#backoff = this.#freshBackoff();
  }

  /** Begins, and goes on until `close`. */
  open(): void {
    if (this.status !== 'closed') return;
    void this.#connect(false);
  }

  close(): void {
    this.#set('closed');
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#socket?.close();
    this.#socket = undefined;
  }

  #freshBackoff(): Backoff {
    return new Backoff(this.#options.backoffMinMs ?? 200, this.#options.backoffMaxMs ?? 10_000);
  }

  #set(status: LiveStatus): void {
    this.status = status;
    this.#options.onChange?.();
  }

  #later(wait: number, what: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      what();
    }, Math.min(wait, LONGEST));
    this.#timers.add(timer);
  }

  async #connect(renew: boolean): Promise<void> {
    this.#set('connecting');
    let token: string;
    try {
      token = await this.#token(renew);
    } catch {
      return this.#again(false);
    }
    if (this.#isClosed()) return;
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    const socket = new Socket(this.#address(), 'largesse.v1.json');
    this.#socket = socket;
    let isOver = false;
    const over = () => {
      if (isOver || this.#socket !== socket) return;
      isOver = true;
      this.#again(this.lastBye === 'unauthenticated' || this.lastBye === 'token_expired');
    };
    socket.addEventListener('open', () => {
      this.lastBye = undefined;
      this.#say({ type: 'auth', token });
      this.#join();
    });
    socket.addEventListener('message', ({ data }) => {
      if (this.#socket !== socket) return;
      const frame = JSON.parse(String(data)) as { type: string };
      this.#taking = this.#taking.then(() => this.#take(frame)).catch(() => socket.close());
    });
    socket.addEventListener('close', over);
    socket.addEventListener('error', over);
  }

  #isClosed(): boolean {
    return this.status === 'closed';
  }

  async #token(renew: boolean): Promise<string> {
    const { bearer } = this.#options;
    return typeof bearer === 'string' ? bearer : bearer(renew);
  }

  #address(): string {
    const base = this.#options.url === '' ? globalThis.location.origin : this.#options.url.replace(/\/+$/, '');
    return `${base.replace(/^http/, 'ws')}/v1/ws`;
  }

  #say(frame: object): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  /** From where it stood, if it was here before. */
  #join(): void {
    const since = this.#epoch === undefined ? {} : { since: { epoch: this.#epoch, seq: this.roomSeq } };
    this.#say({ type: 'join', room: String(this.#options.room), ...since });
  }

  #again(renew: boolean): void {
    if (this.#isClosed()) return;
    this.#set('waiting');
    const wait = this.#backoff.wait(this.#reconnectAfter || undefined);
    this.#reconnectAfter = 0;
    this.#later(wait, () => void this.#connect(renew));
  }

  async #take(frame: { type: string }): Promise<void> {
    switch (frame.type) {
      case 'hello':
        return this.#renewBefore(frame as unknown as { server_time: string; expires_at: string });
      case 'joined':
        return this.#joined(frame as unknown as Joined);
      case 'tick':
        return this.#tick(frame as unknown as Tick);
      case 'bye': {
        const { code, reconnect_after_ms } = frame as unknown as { code: string; reconnect_after_ms: number };
        this.lastBye = code;
        this.#reconnectAfter = reconnect_after_ms;
        return;
      }
    }
  }

  #renewBefore(hello: { server_time: string; expires_at: string }): void {
    const left = Date.parse(hello.expires_at) - Date.parse(hello.server_time);
    const socket = this.#socket;
    this.#later(left * RENEW_AT, () => {
      if (this.#socket !== socket) return;
      // Without another token the socket ends with this one, and the next socket asks again.
      const say = (token: string) => this.#say({ type: 'auth', token });
      this.#token(true).then(say, () => undefined);
    });
  }

  async #joined(joined: Joined): Promise<void> {
    const isKnown = this.#epoch === joined.epoch;
    if (!isKnown) {
      // The first time, or another feed altogether: what is summed up begins here.
      this.sums.clear();
      this.roomSeq = joined.room_seq;
    } else if (joined.gap !== undefined) {
      await this.#readFeed(joined.gap.to);
    }
    this.#epoch = joined.epoch;
    this.live = joined.live;
    this.totals = joined.totals;
    this.viewers = joined.viewers;
    this.#backoff = this.#freshBackoff();
    this.#set('live');
  }

  async #tick(tick: Tick): Promise<void> {
    // Known already, from before or from the feed.
    if (tick.to <= this.roomSeq) return;
    if (tick.from > this.roomSeq + 1) return this.#join();
    if (tick.from <= this.roomSeq) return this.#readFeed(tick.to);
    this.#add(tick.items, tick.rest ?? []);
    this.roomSeq = tick.to;
    this.viewers = tick.viewers;
    if (tick.totals !== undefined) this.totals = tick.totals;
    for (const item of tick.items) this.#follow(item);
    this.#options.onItems?.(tick.items, tick.rest ?? []);
    this.#options.onChange?.();
  }

  /** Reads what the socket did not bring, up to an entry. */
  async #readFeed(to: number): Promise<void> {
    const fetch = this.#options.fetch ?? globalThis.fetch.bind(globalThis);
    while (this.roomSeq < to && !this.#isClosed()) {
      const limit = Math.min(PAGE, to - this.roomSeq);
      const path = `/v1/rooms/${this.#options.room}/feed?after=${this.roomSeq}&limit=${limit}`;
      const token = await this.#token(false);
      const answer = await fetch(this.#options.url.replace(/\/+$/, '') + path, {
        headers: { Authorization: `Bearer ${token}` },
      });
      if (!answer.ok) throw new Error(`the feed answered ${answer.status}`);
      const { items } = (await answer.json()) as Schemas['FeedPage'];
      if (items.length === 0) {
        // The store is catching up.
        await new Promise((resolve) => this.#later(100, () => resolve(undefined)));
        continue;
      }
      this.#add(items, []);
      this.roomSeq = items[items.length - 1]!.room_seq;
      for (const item of items) this.#follow(item);
      this.#options.onItems?.(items, []);
    }
  }

  #add(items: FeedItem[], rest: Rest[]): void {
    for (const item of items) if (item.kind === 'gift') this.#sum(item.delta, item.events);
    for (const { delta, events } of rest) this.#sum(delta, events);
  }

  #sum(delta: { count: number; value: number; asset: string }, gifts: number): void {
    const sum = this.sums.get(delta.asset) ?? { count: 0, value: 0, gifts: 0 };
    sum.count += delta.count;
    sum.value += delta.value;
    sum.gifts += gifts;
    this.sums.set(delta.asset, sum);
  }

  #follow(item: FeedItem): void {
    if (item.kind === 'live_start') this.live = { number: item.live, state: 'open' };
    if (item.kind === 'live_end') this.live = { number: item.live, state: 'closed' };
  }
}
