// Taps on the same gift that come one after the other, sent together.
import { OutboxError } from './outbox.js';
/** What one request may send of a gift. */
const COUNT_MAX = 9_999;
/**
 * Gathers taps on the same gift to the same hosts, and sends them as one gift with a count. Gifts are sent in the order of
 * their first taps, one after the other.
 *
 * Every tap is in the outbox before it counts, in the gift that it became a part of: if the page closes, the next one
 * sends what was tapped. With a `BrowserOutbox` that is so as soon as `tap` has returned.
 */
export class Combos {
    client;
    #quiet;
    #longest;
    #open;
    #last = Promise.resolve();
    constructor(client, options = {}) {
        this.client = client;
        this.#quiet = options.quietMs ?? 300;
        this.#longest = options.longestMs ?? 2_000;
        // What is gathered by then is in the outbox, and stays there.
        client.closed.addEventListener('abort', () => clearTimeout(this.#open?.timer));
    }
    /** Counts a tap. Resolves with what came of the gift that it is a part of; rejects if it could not be kept. */
    tap(tap) {
        const like = JSON.stringify(tap);
        const open = this.#open;
        if (open !== undefined && open.like === like && countOf(open.entry) < COUNT_MAX) {
            return this.#add(open);
        }
        this.flush();
        return this.#start(tap, like);
    }
    /** How many taps are gathered and not sent yet. */
    get gathered() {
        return this.#open === undefined ? 0 : countOf(this.#open.entry);
    }
    /** Sends what is gathered, without waiting for more. */
    flush() {
        const open = this.#open;
        if (open === undefined)
            return;
        clearTimeout(open.timer);
        this.#open = undefined;
        open.send();
    }
    #start(tap, like) {
        const { entry } = this.client.prepare({ ...tap, count: 1 });
        let send = () => { };
        const sent = new Promise((resolve) => (send = resolve));
        const combo = {
            like,
            entry,
            kept: Promise.resolve(),
            isStale: false,
            since: performance.now(),
            timer: this.#timer(0),
            outcome: Promise.resolve().then(() => this.#outcome(combo, sent, before)),
            send,
        };
        const before = this.#last;
        this.#last = combo.outcome.catch(() => undefined);
        this.#open = combo;
        return this.#keep(combo);
    }
    #add(combo) {
        setCount(combo.entry, countOf(combo.entry) + 1);
        clearTimeout(combo.timer);
        combo.timer = this.#timer(performance.now() - combo.since);
        return this.#keep(combo);
    }
    /** A tap that cannot be kept does not count, and those beside it do. One that may be kept does, and may be sent yet. */
    #keep(combo) {
        const kept = this.client.keep(combo.entry).catch((error) => {
            if (!(error instanceof OutboxError && error.mayBeKept))
                throw error;
            combo.isStale = true;
        });
        const settled = kept.catch(() => {
            setCount(combo.entry, countOf(combo.entry) - 1);
            combo.isStale = true;
        });
        combo.kept = Promise.all([combo.kept, settled]).then(() => undefined);
        return kept.then(() => combo.outcome);
    }
    async #outcome(combo, sent, before) {
        await Promise.all([sent, before]);
        // Nothing is added any more; the last taps may still be on their way into the outbox.
        await combo.kept;
        const { entry } = combo;
        if (countOf(entry) === 0) {
            this.client.leave(entry);
            throw new OutboxError('nothing was sent: no tap could be kept');
        }
        try {
            // What is sent has to be what is kept.
            if (combo.isStale)
                await this.client.keep(entry);
        }
        catch (error) {
            this.client.leaveOpen(entry);
            return { outcome: 'pending', id: entry.id, why: String(error) };
        }
        return (await this.client.drive(entry, true));
    }
    #timer(gatheredFor) {
        const wait = Math.max(0, Math.min(this.#quiet, this.#longest - gatheredFor));
        return setTimeout(() => this.flush(), wait);
    }
}
function countOf(entry) {
    return entry.intent.kind === 'gift' ? entry.intent.body.count : 0;
}
function setCount(entry, count) {
    if (entry.intent.kind === 'gift')
        entry.intent.body.count = count;
}
