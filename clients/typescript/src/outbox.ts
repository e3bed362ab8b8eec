// What was asked for and is not settled yet, kept before it is sent.

import type { components } from './openapi.js';

type Schemas = components['schemas'];

/** What is asked for, exactly as it is sent each time. */
export type Intent =
  | { kind: 'gift'; room: string; body: Omit<Schemas['SendGift'], 'event_id'> }
  | { kind: 'recharge'; body: Schemas['Recharge'] }
  | { kind: 'transfer'; body: Omit<Schemas['Transfer'], 'event_id'> };

/** One intent with the key that it is, or will be, sent under. Times are the server's, in milliseconds since 1970. */
export interface Entry {
  /** The first key, by which the intent is known whatever happens. */
  id: string;
  /** The key in use: another one than `id` after the server's clock asked for that. */
  key: string;
  /** Whether the client made the key, and may make another. */
  minted: boolean;
  intent: Intent;
  madeAt: number;
  /** When to stop sending it. */
  giveUpAt?: number;
  /**
   * No attempt that was ever sent may be decided later than this. `NEVER_SENT`: there was none, since the server's time
   * was not known, and all times here are this machine's.
   */
  horizon: number;
}

/** The horizon of an entry that is sent only once it has the server's times. */
export const NEVER_SENT = 0;

/** Where open entries are kept. One client at a time uses one outbox, for one account. */
export interface Outbox {
  /**
   * Keeps an entry, in the place of the one with the same id if there is one, all or nothing. It has to be safe from a
   * crash when this resolves: the request is sent right afterwards.
   */
  put(entry: Entry): Promise<void>;
  /**
   * Forgets an entry that is settled. It has to be safe from a crash when this resolves: a refusal is reported right
   * afterwards, and one that was still kept would be sent again, and might be applied then.
   */
  remove(id: string): Promise<void>;
  /** All that are kept, oldest first. */
  entries(): Promise<Entry[]>;
  /** Lets others use it. */
  close(): Promise<void>;
}

/** It could not be kept, and so it was not sent. */
export class OutboxError extends Error {
  override readonly name = 'OutboxError';

  /** `mayBeKept`: whether it is there nevertheless cannot be told, so that it may be sent when the outbox is opened again. */
  constructor(
    message: string,
    readonly mayBeKept = false,
  ) {
    super(message);
  }
}

/** More are refused, since what cannot be settled would otherwise fill memory and disk. */
export const ENTRIES_MAX = 10_000;

export function checkRoom(open: number): void {
  if (open >= ENTRIES_MAX) throw new OutboxError(`the outbox is full: ${open} entries are open`);
}

/** Oldest first; keys that are made in the same millisecond are in no order. */
export function inOrder(entries: Iterable<Entry>): Entry[] {
  return [...entries].sort((a, b) => a.madeAt - b.madeAt);
}

/** For tests, and for pages that may lose what is open when they close. */
export class MemoryOutbox implements Outbox {
  readonly #entries = new Map<string, string>();

  async put(entry: Entry): Promise<void> {
    if (!this.#entries.has(entry.id)) checkRoom(this.#entries.size);
    this.#entries.set(entry.id, JSON.stringify(entry));
  }

  async remove(id: string): Promise<void> {
    this.#entries.delete(id);
  }

  async entries(): Promise<Entry[]> {
    return inOrder([...this.#entries.values()].map((text) => JSON.parse(text) as Entry));
  }

  async close(): Promise<void> {}
}
