// What was asked for and is not settled yet, kept before it is sent.
/** The horizon of an entry that is sent only once it has the server's times. */
export const NEVER_SENT = 0;
/** It could not be kept, and so it was not sent. */
export class OutboxError extends Error {
    mayBeKept;
    name = 'OutboxError';
    /** `mayBeKept`: whether it is there nevertheless cannot be told, so that it may be sent when the outbox is opened again. */
    constructor(message, mayBeKept = false) {
        super(message);
        this.mayBeKept = mayBeKept;
    }
}
/** More are refused, since what cannot be settled would otherwise fill memory and disk. */
export const ENTRIES_MAX = 10_000;
export function checkRoom(open) {
    if (open >= ENTRIES_MAX)
        throw new OutboxError(`the outbox is full: ${open} entries are open`);
}
/** Oldest first; keys that are made in the same millisecond are in no order. */
export function inOrder(entries) {
    return [...entries].sort((a, b) => a.madeAt - b.madeAt);
}
/** For tests, and for pages that may lose what is open when they close. */
export class MemoryOutbox {
    #entries = new Map();
    async put(entry) {
        if (!this.#entries.has(entry.id))
            checkRoom(this.#entries.size);
        this.#entries.set(entry.id, JSON.stringify(entry));
    }
    async remove(id) {
        this.#entries.delete(id);
    }
    async entries() {
        return inOrder([...this.#entries.values()].map((text) => JSON.parse(text)));
    }
    async close() { }
}
