// An outbox in a browser.
import { OutboxError, checkRoom, inOrder } from './outbox.js';
/**
 * Keeps entries in `localStorage`. That is written at once, within the call: a tap is safe before its handler returns,
 * which a database that answers later could not promise to a page that is being closed.
 *
 * Every page has a part of its own, which it holds a Web Lock for. A page that opens takes over the parts of pages that
 * are gone, and leaves those of pages that are open alone: two that worked on the same entry could each make a new key
 * for it, and then it would be paid twice.
 */
export class BrowserOutbox {
    prefix;
    shelf;
    locks;
    #letGo = [];
    #own = '';
    constructor(prefix, shelf, locks) {
        this.prefix = prefix;
        this.shelf = shelf;
        this.locks = locks;
    }
    /** `name` tells users apart who share a browser: use the user's id. */
    static async open(name, shelf = localStorage, locks = globalThis.navigator?.locks) {
        if (locks === undefined)
            throw new OutboxError('a browser outbox needs Web Locks, which pages over https have');
        const outbox = new BrowserOutbox(`largesse/${name}/`, shelf, locks);
        outbox.#own = `${outbox.prefix}${crypto.getRandomValues(new Uint32Array(2)).join('-')}/`;
        if (!(await outbox.#hold(outbox.#own)))
            throw new OutboxError('this page cannot get a lock of its own');
        for (const part of new Set(outbox.#names().map((name) => partOf(name)))) {
            if (part === outbox.#own || !(await outbox.#hold(part)))
                continue;
            for (const name of outbox.#names().filter((name) => name.startsWith(part)))
                outbox.#adopt(name);
        }
        return outbox;
    }
    async put(entry) {
        this.putNow(entry);
    }
    /** As `put`, and done when it returns. */
    putNow(entry) {
        if (this.shelf.getItem(this.#own + entry.id) === null)
            checkRoom(this.#mine().length);
        try {
            this.shelf.setItem(this.#own + entry.id, JSON.stringify(entry));
        }
        catch (error) {
            throw new OutboxError(`the browser does not keep it: ${String(error)}`);
        }
    }
    async remove(id) {
        this.shelf.removeItem(this.#own + id);
    }
    async entries() {
        const texts = this.#mine().map((name) => this.shelf.getItem(name));
        return inOrder(texts.flatMap((text) => (text === null ? [] : [JSON.parse(text)])));
    }
    async close() {
        for (const letGo of this.#letGo.splice(0))
            letGo();
    }
    /** An entry of a page that is gone. */
    #adopt(name) {
        const text = this.shelf.getItem(name);
        if (text === null)
            return;
        this.shelf.setItem(this.#own + name.slice(partOf(name).length), text);
        this.shelf.removeItem(name);
    }
    #mine() {
        return this.#names().filter((name) => name.startsWith(this.#own));
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
