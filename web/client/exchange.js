// One request and what its answer says about the money.
import { asProblem, vouchesForNoEffect } from './problem.js';
/** Talks to one server in the name of one caller. */
export class Exchange {
    url;
    bearer;
    clock;
    patience;
    language;
    fetch;
    #stop = new AbortController();
    constructor(url, bearer, clock, patience, language, fetch) {
        this.url = url;
        this.bearer = bearer;
        this.clock = clock;
        this.patience = patience;
        this.language = language;
        this.fetch = fetch;
    }
    /** Nothing is sent any more, and nothing that is on its way is listened to. */
    stop() {
        this.#stop.abort();
    }
    get isStopped() {
        return this.#stop.signal.aborted;
    }
    get stopped() {
        return this.#stop.signal;
    }
    /** Sends an entry once. It says until when it may be decided. */
    async attempt(entry, deadline, pass) {
        const headers = { 'Largesse-Deadline': String(deadline) };
        if (pass !== undefined)
            headers['Largesse-Room-Pass'] = pass;
        const body = bodyOf(entry.intent, entry.key);
        const heard = await this.hear({ method: 'POST', path: pathOf(entry.intent), body, headers });
        switch (heard.is) {
            case 'json':
                return applied(entry.intent, heard.json);
            case 'problem':
                return refused(heard.problem, heard.retryAfter);
            case 'not_sent':
                return heard;
            case 'garbled':
            case 'lost':
                return { is: 'unknown', why: heard.why };
        }
    }
    /** Asks what became of an entry. */
    async look(entry, finalAfter) {
        const heard = await this.hear({ method: 'GET', path: lookupOf(entry, finalAfter) });
        switch (heard.is) {
            case 'json':
                return isReceipt(heard.json)
                    ? { is: 'found', receipt: heard.json }
                    : { is: 'unclear', why: 'the receipt does not fit' };
            case 'problem':
                if (heard.problem.code === 'event_unknown')
                    return { is: 'nothing', final: heard.problem.final === true };
                return unclear(`${heard.problem.code}: ${heard.problem.detail}`, heard.retryAfter);
            case 'garbled':
            case 'not_sent':
            case 'lost':
                return { is: 'unclear', why: heard.why };
        }
    }
    /** Makes one request, and a second with a fresh token where the first was not taken. */
    async hear(request) {
        if (request.anonymous)
            return this.#once(request, undefined);
        let token;
        try {
            token = typeof this.bearer === 'string' ? this.bearer : await this.bearer(false);
        }
        catch (error) {
            return { is: 'not_sent', why: `there is no token: ${String(error)}` };
        }
        const heard = await this.#once(request, token);
        const isRefused = heard.is === 'problem' && heard.problem.code === 'unauthenticated';
        if (!isRefused || typeof this.bearer === 'string')
            return heard;
        try {
            const fresh = await this.bearer(true);
            return fresh === token ? heard : await this.#once(request, fresh);
        }
        catch {
            return heard;
        }
    }
    async #once(request, token) {
        if (this.isStopped)
            return { is: 'not_sent', why: 'the client is closed' };
        const late = new AbortController();
        const timer = setTimeout(() => late.abort(new Error(`no answer within ${this.patience} ms`)), this.patience);
        const stop = () => late.abort(new Error('the client is closed'));
        this.#stop.signal.addEventListener('abort', stop);
        const headers = { ...request.headers };
        if (token !== undefined)
            headers['Authorization'] = `Bearer ${token}`;
        if (this.language !== undefined)
            headers['Accept-Language'] = this.language;
        const init = { method: request.method, headers, signal: late.signal, redirect: 'manual' };
        if (request.body !== undefined) {
            headers['Content-Type'] = 'application/json';
            init.body = JSON.stringify(request.body);
            // What is being sent while a page closes is still sent.
            init.keepalive = init.body.length < KEEPALIVE_BYTES_MAX;
        }
        try {
            return await this.#read(await this.fetch(this.url + request.path, init));
        }
        catch (error) {
            return wasNotSent(error) ? { is: 'not_sent', why: reason(error) } : { is: 'lost', why: reason(error) };
        }
        finally {
            clearTimeout(timer);
            this.#stop.signal.removeEventListener('abort', stop);
        }
    }
    async #read(answer) {
        const date = answer.headers.get('date');
        if (date !== null)
            this.clock.sawDate(date);
        const seconds = Number(answer.headers.get('retry-after') ?? Number.NaN);
        const isProblem = answer.headers.get('content-type')?.startsWith('application/problem+json') === true;
        const text = await textOf(answer);
        let json;
        try {
            json = JSON.parse(text);
        }
        catch {
            return { is: 'garbled', why: `${answer.status} with something that is not JSON` };
        }
        if (answer.ok)
            return { is: 'json', json };
        const problem = isProblem ? asProblem(json) : undefined;
        // It may be from a proxy in between, which knows nothing about the money.
        if (problem === undefined)
            return { is: 'garbled', why: `${answer.status} without a problem of Largesse` };
        return Number.isFinite(seconds) ? { is: 'problem', problem, retryAfter: seconds * 1_000 } : { is: 'problem', problem };
    }
}
/** All of a body, if it has an end. */
async function textOf(answer) {
    const reader = answer.body?.getReader();
    if (reader === undefined)
        return '';
    const decoder = new TextDecoder();
    let [text, bytes] = ['', 0];
    for (;;) {
        const { done, value } = await reader.read();
        if (done)
            return text + decoder.decode();
        text += decoder.decode(value, { stream: true });
        bytes += value.length;
        if (bytes > ANSWER_BYTES_MAX) {
            await reader.cancel();
            throw new Error('the answer has no end');
        }
    }
}
/** Larger answers are none of ours. */
const ANSWER_BYTES_MAX = 16 << 20;
/** Browsers allow 64 KiB of such requests at a time. */
const KEEPALIVE_BYTES_MAX = 8_192;
function reason(error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    return cause instanceof Error ? cause.message : String(cause);
}
/** Node says when there was no connection at all. Browsers do not, and then it counts as lost. */
function wasNotSent(error) {
    const cause = error instanceof Error ? error.cause : undefined;
    return ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'].includes(cause?.code ?? '');
}
function pathOf(intent) {
    switch (intent.kind) {
        case 'gift':
            return `/v1/rooms/${encodeURIComponent(intent.room)}/gifts`;
        case 'recharge':
            return '/v1/recharges';
        case 'transfer':
            return '/v1/transfers:batch';
    }
}
function bodyOf(intent, key) {
    switch (intent.kind) {
        case 'gift':
            return { ...intent.body, event_id: key };
        case 'recharge':
            return intent.body;
        case 'transfer':
            return { transfers: [{ ...intent.body, event_id: key }] };
    }
}
function lookupOf({ intent, key }, finalAfter) {
    const sender = intent.kind === 'gift' ? intent.body.sender : intent.body.user_id;
    const whose = sender === undefined || sender === null ? '' : `sender=${sender}&`;
    return `/v1/gifts/${encodeURIComponent(key)}?${whose}final_after=${finalAfter}`;
}
function applied(intent, json) {
    if (intent.kind !== 'transfer')
        return ofReceipt(intent, json);
    const result = json?.results?.[0];
    if (result === undefined)
        return { is: 'unknown', why: 'the batch was answered without a result' };
    if (result.outcome === 'applied')
        return ofReceipt(intent, result);
    const problem = 'error' in result ? asProblem(result.error) : undefined;
    return problem === undefined ? { is: 'unknown', why: 'the result does not fit' } : refused(problem, undefined);
}
/** The receipt of something else says nothing about what was asked for. */
function ofReceipt(intent, json) {
    return isReceipt(json) && MEMBER[intent.kind] in json
        ? { is: 'applied', receipt: json }
        : { is: 'unknown', why: 'the receipt does not fit' };
}
/** What only the receipt of this kind has. */
const MEMBER = { gift: 'gift_id', recharge: 'amount', transfer: 'debits' };
function isReceipt(json) {
    const receipt = json;
    return typeof receipt === 'object' && receipt !== null && receipt.outcome === 'applied' && 'event_id' in receipt;
}
function refused(problem, retryAfter) {
    if (!vouchesForNoEffect(problem))
        return { is: 'unknown', why: `${problem.code}: ${problem.detail}`, problem };
    return retryAfter === undefined ? { is: 'refused', problem } : { is: 'refused', problem, retryAfter };
}
function unclear(why, retryAfter) {
    return retryAfter === undefined ? { is: 'unclear', why } : { is: 'unclear', why, retryAfter };
}
/**
 * Whether a receipt found under the key is of this, and not of something else that used the same key. Names of assets are
 * not compared: they are the catalog's, which may have got others since. A key that the client made is used for nothing
 * else, so that any receipt of the kind is of this.
 */
export function isToldBy({ intent, minted }, receipt) {
    switch (intent.kind) {
        case 'gift': {
            const { body } = intent;
            if (!('gift_id' in receipt))
                return false;
            if (minted)
                return true;
            return (receipt.room_id === intent.room &&
                receipt.gift_id === body.gift_id &&
                receipt.count === body.count &&
                same(receipt.to, body.to.map(String)) &&
                (receipt.anonymous ?? false) === (body.anonymous ?? false) &&
                same(receipt.combo?.id, body.combo_id === undefined || body.combo_id === null ? undefined : String(body.combo_id)));
        }
        case 'recharge': {
            const { user_id, amount } = intent.body;
            return 'amount' in receipt && same([receipt.user_id, receipt.amount], [String(user_id), amount]);
        }
        case 'transfer': {
            const { user_id, debits, credits } = intent.body;
            if (!('debits' in receipt))
                return false;
            if (minted)
                return true;
            return (receipt.user_id === String(user_id) &&
                same(receipt.debits.map((it) => it.amount), (debits ?? []).map((it) => it.amount)) &&
                same(receipt.credits.map((it) => [it.user_id, it.amount]), (credits ?? []).map((it) => [String(it.user_id), it.amount])));
        }
    }
}
function same(one, other) {
    return JSON.stringify(one) === JSON.stringify(other);
}
