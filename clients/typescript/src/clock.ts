// The server's time, as far as its answers tell.

/** How far the estimate can be off, in milliseconds: `Date` has whole seconds, and an answer takes its time. */
export const SLACK = 2_000;

/**
 * This machine's clock and how far the server's is from it. Deadlines and keys are made from it; a wrong one costs time,
 * since requests come too late or keys have to be made again, and never money.
 */
export class ServerClock {
  #ahead = 0;
  #isKnown = false;

  constructor(private readonly local: () => number) {}

  /** In milliseconds since 1970. */
  now(): number {
    return Math.max(0, Math.round(this.local() + this.#ahead));
  }

  /** How far the server's clock is ahead of this machine's, in milliseconds. */
  get ahead(): number {
    return this.#ahead;
  }

  /** By how much this machine's clock is wrong for certain: 0 where it is as good as the estimate. */
  get off(): number {
    return Math.abs(this.#ahead) > SLACK ? this.#ahead : 0;
  }

  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** The server answered and told no time: then this machine's has to do. */
  sawNone(): void {
    this.#isKnown = true;
  }

  /** A `Date` header: the server's time is within the second that it names. */
  sawDate(date: string): void {
    const seen = Date.parse(date);
    if (!Number.isNaN(seen)) this.saw(seen + 500);
  }

  saw(serverNow: number): void {
    this.#ahead = serverNow - this.local();
    this.#isKnown = true;
  }
}
