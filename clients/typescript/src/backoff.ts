// How long to wait before the next attempt.

/**
 * Each wait is about twice as long as the one before. Half of it is drawn, so that many clients that were turned away at
 * the same moment do not come back at the same moment.
 */
export class Backoff {
  #next: number;

  constructor(
    min: number,
    private readonly max: number,
  ) {
    this.#next = Math.min(min, max);
  }

  /** The next wait in milliseconds, and never less than the server asked for. */
  wait(retryAfter?: number): number {
    const whole = this.#next;
    this.#next = Math.min(whole * 2, this.max);
    const drawn = whole * (0.5 + Math.random() / 2);
    if (retryAfter === undefined) return drawn;
    return Math.max(retryAfter, drawn) + (Math.min(whole, retryAfter) * Math.random()) / 4;
  }
}
