// One entry on its way to an outcome.
//
// What makes it safe: an attempt that got no answer may be decided until the deadline that it carried. While there is
// such an attempt, the entry is in doubt, and nothing that another attempt is told proves anything about it: a refusal
// is only passed on, and another key only made, once a lookup has said that no attempt up to that deadline can be
// decided any more.
import { Backoff } from './backoff.js';
import { SLACK } from './clock.js';
import { isToldBy } from './exchange.js';
import { mint } from './key.js';
import { NEVER_SENT } from './outbox.js';
/** How far ahead of its attempts an entry's horizon is kept, so that most need no second write. */
export const HORIZON = 60_000;
/** Keys that the server's clock may ask for, and passes for rooms, before its answer is believed. */
const REPLACED_MAX = 3;
/** Ends a drive that cannot go on: what it is about stays open. */
class Stuck extends Error {
}
export class Drive {
    tools;
    entry;
    /** Until when an attempt without an answer may be decided. */
    #doubt;
    /** The same, without the last attempt. */
    #doubtBefore;
    /** Whether it is certain that the outbox has just this entry. Nothing is sent before. */
    #isKept;
    #replaced = 0;
    /** What stood in the way last. */
    #why = 'it was not sent yet';
    #ends;
    #backoff;
    /** `isNew`: it was kept just now, and nothing was sent for it. */
    constructor(tools, entry, isNew) {
        this.tools = tools;
        this.entry = entry;
        this.#isKept = isNew;
        this.#doubt = isNew || entry.horizon === NEVER_SENT ? undefined : entry.horizon;
        this.#doubtBefore = this.#doubt;
        this.#ends = performance.now() + tools.times.patience;
        this.#backoff = this.#fresh();
    }
    /** Goes on until there is an outcome or patience ends. */
    async run() {
        let outcome;
        try {
            outcome = await this.#reach();
        }
        catch (error) {
            if (!(error instanceof Stuck))
                throw error;
            return { outcome: 'pending', id: this.entry.id, why: error.message };
        }
        const { exchange, outbox } = this.tools;
        const { id } = this.entry;
        try {
            if (exchange.isStopped)
                throw new Stuck('the client is closed');
            await outbox.remove(id);
        }
        catch (error) {
            // One that was applied is found settled when it is resumed. One that was refused would be sent again, and may be
            // applied then: it is not refused yet.
            if (outcome.outcome !== 'applied') {
                return { outcome: 'pending', id, why: `${outcome.outcome}, but that could not be kept: ${String(error)}` };
            }
        }
        return outcome;
    }
    async #reach() {
        for (;;) {
            const unknown = await this.tools.learnTheTime();
            if (unknown !== undefined) {
                this.#why = unknown;
                await this.#sleep(this.#backoff.wait());
                continue;
            }
            if (this.entry.horizon === NEVER_SENT)
                await this.#keep(this.#dated());
            const found = await this.#lookOnce();
            if (found !== undefined)
                return applied(found);
            if (this.entry.giveUpAt !== undefined && this.tools.clock.now() > this.entry.giveUpAt) {
                return this.#conclude({ outcome: 'given_up' });
            }
            const attempt = await this.#attempt();
            let wait;
            switch (attempt.is) {
                case 'applied':
                    return applied(attempt.receipt);
                case 'not_sent':
                    this.#why = attempt.why;
                    break;
                case 'refused': {
                    const next = await this.#judge(attempt.problem);
                    if (next === 'again')
                        continue;
                    if (next !== 'after a pause')
                        return next.outcome === 'applied' ? next : this.#conclude(next);
                    wait = attempt.retryAfter;
                    break;
                }
                case 'unknown': {
                    this.#why = attempt.why;
                    const finalAfter = Date.parse(attempt.problem?.final_after ?? '');
                    if (Number.isNaN(finalAfter))
                        break;
                    // The server said itself that it does not know: it is asked until it does.
                    this.#doubt = Math.max(this.#doubtBefore ?? 0, finalAfter);
                    const receipt = await this.#settle();
                    if (receipt !== undefined)
                        return applied(receipt);
                    continue;
                }
            }
            await this.#sleep(this.#backoff.wait(wait));
        }
    }
    /**
     * The server's times in the place of this machine's. A key that is off is made again: the server would refuse one from
     * the future, or from before all history, and nothing was ever sent under it.
     */
    #dated() {
        const { clock, times } = this.tools;
        const { key, minted, giveUpAt } = this.entry;
        const madeAt = madeAtOf(this.entry, clock);
        const dated = {
            madeAt,
            key: minted && clock.off !== 0 ? mint(madeAt) : key,
            horizon: clock.now() + times.attempt + SLACK + HORIZON,
        };
        if (giveUpAt !== undefined)
            dated.giveUpAt = Math.round(giveUpAt + clock.ahead);
        return dated;
    }
    /** One attempt, with its deadline. What is unknown of it is in doubt until then. */
    async #attempt() {
        const { clock, times, exchange } = this.tools;
        const deadline = clock.now() + times.attempt + SLACK;
        if (deadline > this.entry.horizon)
            await this.#keep({ horizon: deadline + HORIZON });
        else if (!this.#isKept)
            await this.#keep({});
        if (exchange.isStopped)
            throw new Stuck('the client is closed');
        const { intent } = this.entry;
        const pass = intent.kind === 'gift' ? this.tools.passOf(intent.room) : undefined;
        this.#doubtBefore = this.#doubt;
        const attempt = await exchange.attempt(this.entry, deadline, pass);
        this.#doubt = attempt.is === 'unknown' ? Math.max(this.#doubtBefore ?? 0, deadline) : this.#doubtBefore;
        return attempt;
    }
    /** What a refusal of one attempt means for the entry. */
    async #judge(problem) {
        this.#why = `${problem.code}: ${problem.detail}`;
        const refused = { outcome: 'refused', problem };
        switch (problem.code) {
            case 'deadline_passed':
                this.#sawTime(problem);
                return 'after a pause';
            case 'id_time_ahead': {
                if (!this.entry.minted || !this.#mayReplace())
                    return refused;
                this.#sawTime(problem);
                const receipt = await this.#settle();
                if (receipt !== undefined)
                    return applied(receipt);
                await this.#keep({ key: mint(this.tools.clock.now()) });
                return 'again';
            }
            case 'room_pass_invalid': {
                const { intent } = this.entry;
                if (intent.kind !== 'gift' || !this.#mayReplace())
                    return refused;
                return (await this.tools.fetchPass(intent.room)) ? 'again' : refused;
            }
            default:
                return problem.retryable ? 'after a pause' : refused;
        }
    }
    #mayReplace() {
        this.#replaced += 1;
        return this.#replaced <= REPLACED_MAX;
    }
    #sawTime(problem) {
        const now = Date.parse(problem.server_time ?? '');
        if (!Number.isNaN(now))
            this.tools.clock.saw(now);
    }
    /** Passes a failure on once it is proven. */
    async #conclude(failure) {
        const receipt = await this.#settle();
        return receipt === undefined ? failure : applied(receipt);
    }
    /** A receipt that is there already. Nothing is waited for, unless the server asks to be left in peace for a while. */
    async #lookOnce() {
        if (this.#doubt === undefined)
            return undefined;
        const look = await this.tools.exchange.look(this.entry, this.#doubt);
        if (look.is === 'found')
            return this.#ours(look.receipt);
        if (look.is === 'nothing' && look.final)
            this.#doubt = undefined;
        if (look.is === 'unclear' && look.retryAfter !== undefined) {
            this.#why = look.why;
            await this.#sleep(this.#backoff.wait(look.retryAfter));
        }
        return undefined;
    }
    /** Asks until it is certain: the receipt, or nothing when no attempt can be decided any more. */
    async #settle() {
        const backoff = this.#fresh();
        while (this.#doubt !== undefined) {
            const look = await this.tools.exchange.look(this.entry, this.#doubt);
            let wait;
            switch (look.is) {
                case 'found':
                    return this.#ours(look.receipt);
                case 'nothing':
                    if (look.final) {
                        this.#doubt = undefined;
                        return undefined;
                    }
                    wait = Math.min(backoff.wait(), Math.max(this.#doubt - this.tools.clock.now(), this.tools.times.backoffMin));
                    break;
                case 'unclear':
                    this.#why = look.why;
                    wait = backoff.wait(look.retryAfter);
            }
            await this.#sleep(wait);
        }
        return undefined;
    }
    /** A receipt under this key. Of something else, it proves that this can never be applied under it. */
    #ours(receipt) {
        if (isToldBy(this.entry, receipt))
            return receipt;
        this.#doubt = undefined;
        return undefined;
    }
    /** Changes the entry when the change is kept. Until then, and if that fails, it is as it was, and nothing is sent. */
    async #keep(change) {
        this.#isKept = false;
        try {
            await this.tools.outbox.put({ ...this.entry, ...change });
        }
        catch (error) {
            throw new Stuck(String(error));
        }
        Object.assign(this.entry, change);
        this.#isKept = true;
    }
    async #sleep(wait) {
        const { exchange } = this.tools;
        if (performance.now() + wait >= this.#ends)
            throw new Stuck(this.#why);
        await new Promise((resolve) => {
            const done = () => {
                clearTimeout(timer);
                exchange.stopped.removeEventListener('abort', done);
                resolve();
            };
            const timer = setTimeout(done, wait);
            exchange.stopped.addEventListener('abort', done);
        });
        if (exchange.isStopped)
            throw new Stuck('the client is closed');
    }
    #fresh() {
        return new Backoff(this.tools.times.backoffMin, this.tools.times.backoffMax);
    }
}
/** When it was asked for, by the server's clock. */
export function madeAtOf(entry, clock) {
    return entry.horizon === NEVER_SENT ? Math.max(0, Math.round(entry.madeAt + clock.off)) : entry.madeAt;
}
function applied(receipt) {
    return { outcome: 'applied', receipt };
}
