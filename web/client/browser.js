// An outbox in a browser.
import { OutboxError, checkRoom, inOrder } from './outbox.js';
/**
 * Keeps entries in `localStorage`. That is written at once, within the call: a tap is safe before its handler returns,
 * which a database that answers later could not promise to a page that is being closed.
 *
 * Every page has a part of its own, which it holds a Web Lock for. A page that opens takes over the parts of pages that
 * are gone, and leaves those of pages that are open alone: two that worked on the same entry could each make a new key
 * for it, and then it would be paid twice. Entries stay where they are, since a copy might find no room.
 */
export class BrowserOutbox {
    prefix;
    shelf;
    locks;
    #letGo = [];
    /** Those that this page holds; the first is its own. */
    #parts = [];
    constructor(prefix, shelf, locks) {
        this.prefix = prefix;
        this.shelf = shelf;
        this.locks = locks;
    }
    /** `name` tells users apart who share a browser: use the user's id. */
    static async open(name, shelf = localStorage, locks = globalThis.navigator?.locks) {
        if (locks === undefined)
            throw new OutboxError('a browser outbox needs Web Locks, which pages over https have');
        const outbox = new BrowserOutbox(`largesse/${encodeURIComponent(name)}/`, shelf, locks);
        try {
            await outbox.#takeParts();
        }
        catch (error) {
            await outbox.close();
            throw error;
        }
        return outbox;
    }
    async put(entry) {
        this.putNow(entry);
    }
    /** As `put`, and done when it returns. */
    putNow(entry) {
        const there = this.#parts.find((part) => this.shelf.getItem(part + entry.id) !== null);
        if (there === undefined)
            checkRoom(this.#mine().length);
        try {
            this.shelf.setItem((there ?? this.#parts[0]) + entry.id, JSON.stringify(entry));
        }
        catch (error) {
            throw new OutboxError(`the browser does not keep it: ${String(error)}`);
        }
    }
    async remove(id) {
        for (const part of this.#parts)
            this.shelf.removeItem(part + id);
    }
    async entries() {
        const texts = this.#mine().map((name) => this.shelf.getItem(name));
        return inOrder(texts.flatMap((text) => (text === null ? [] : [JSON.parse(text)])));
    }
    async close() {
        for (const letGo of this.#letGo.splice(0))
            letGo();
    }
    /** A part of its own, and those of pages that are gone. */
    async #takeParts() {
        const own = `${this.prefix}${crypto.getRandomValues(new Uint32Array(2)).join('-')}/`;
        if (!(await this.#hold(own)))
            throw new OutboxError('this page cannot get a lock of its own');
        this.#parts.push(own);
        for (const part of new Set(this.#names().map((name) => partOf(name)))) {
            if (await this.#hold(part))
                this.#parts.push(part);
        }
    }
    #mine() {
        return this.#names().filter((name) => this.#parts.includes(partOf(name)));
    }
    #names() {
        const names = [];
        for (let place = 0; place < this.shelf.length; place++) {
            const name = this.shelf.key(place);
            if (name?.startsWith(this.prefix))
                names.push(name);
        }
        return names;
    }
    /** Takes the lock of a part, if nobody has it, and keeps it until this is closed or the page is gone. */
    #hold(part) {
        return new Promise((resolve, reject) => {
            const held = this.locks.request(part, { ifAvailable: true }, (lock) => {
                resolve(lock !== null);
                return lock === null ? undefined : new Promise((letGo) => this.#letGo.push(letGo));
            });
            held.catch(reject);
        });
    }
}
/** `largesse/user/page/` of `largesse/user/page/key`. */
function partOf(name) {
    return name.split('/').slice(0, 3).join('/') + '/';
}
