// What an outbox that fails may not lead to, with a server that answers from a list.

import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { isToldBy } from '../src/exchange.js';
import { Client, Combos, type Entry, type Intent, MemoryOutbox, OutboxError } from '../src/index.js';
import { NEVER_SENT } from '../src/outbox.js';
import { FileOutbox } from '../src/node.js';

const folder = mkdtempSync(join(tmpdir(), 'largesse-failing-'));
after(() => rmSync(folder, { recursive: true }));
const gift = { room: 1001, gift_id: 9, count: 1, to: ['2001'] };

class Failing extends MemoryOutbox {
  putsFail = false;
  removesFail = false;

  override async put(entry: Entry): Promise<void> {
    if (this.putsFail) throw new Error('the disk is full');
    await super.put(entry);
  }

  override async remove(id: string): Promise<void> {
    if (this.removesFail) throw new Error('the disk is full');
    await super.remove(id);
  }
}

/** Answers posts with these problems in turn, the last one for ever, and says of every key that it is not there for good. */
function answering(codes: string[], noted: string[], before: () => void | Promise<void> = () => {}): typeof globalThis.fetch {
  return async (_url, init) => {
    const problem = { type: 'about:blank', title: 'so', status: 422, detail: 'so', retryable: false };
    const headers = { 'content-type': 'application/problem+json' };
    const say = (more: object) => new Response(JSON.stringify({ ...problem, ...more }), { status: 422, headers });
    if (init?.method !== 'POST') return say({ code: 'event_unknown', final: true });
    await before();
    const code = codes[Math.min(noted.length, codes.length - 1)];
    noted.push((JSON.parse(String(init.body)) as { event_id: string }).event_id);
    return say({ code });
  };
}

test('a refusal that the outbox does not forget is not told', async () => {
  const outbox = new Failing();
  outbox.removesFail = true;
  const fetch = answering(['insufficient_funds'], []);
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch });
  assert.equal((await client.sendGift(gift)).outcome, 'pending');
  assert.equal(client.leftOpen, 1);
  outbox.removesFail = false;
  assert.deepEqual((await client.resume()).map(({ outcome }) => outcome.outcome), ['refused']);
});

test('a refusal that was told is gone from the file, which is of one account', async () => {
  const path = join(folder, 'refused');
  const outbox = await FileOutbox.open(path, 'ann');
  const fetch = answering(['insufficient_funds'], []);
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch });
  assert.equal((await client.sendGift(gift)).outcome, 'refused');
  // What a crash at this moment leaves.
  copyFileSync(path, `${path}-crashed`);
  const after = await FileOutbox.open(`${path}-crashed`, 'ann');
  assert.deepEqual(await after.entries(), []);
  await after.close();
  await assert.rejects(FileOutbox.open(`${path}-crashed`, 'bob'), /of account `ann`/);
  await client.close();
});

test('a key that could not be kept is never used', async () => {
  const [outbox, keys] = [new Failing(), [] as string[]];
  const fetch = answering(['id_time_ahead', 'insufficient_funds'], keys, () => void (outbox.putsFail = true));
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch });
  assert.equal((await client.sendGift(gift)).outcome, 'pending');
  const [stuck] = await client.resume();
  assert.equal(stuck?.outcome.outcome, 'pending');
  assert.equal(keys.length, 1, 'nothing is sent while it cannot be kept');
  outbox.putsFail = false;
  const [settled] = await client.resume();
  assert.equal(settled?.outcome.outcome, 'refused');
  assert.deepEqual(keys, [settled?.id, settled?.id]);
});

test('the same under way is no refusal, whatever the order of its members', async () => {
  let go = () => {};
  const held = new Promise<void>((resolve) => (go = resolve));
  const fetch = answering(['insufficient_funds'], [], () => held);
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox: new MemoryOutbox(), fetch });
  const first = client.sendGift({ ...gift, event_id: 'mine' });
  assert.equal((await client.sendGift({ event_id: 'mine', to: ['2001'], count: 1, gift_id: 9, room: '1001' })).outcome, 'pending');
  await assert.rejects(client.sendGift({ ...gift, count: 2, event_id: 'mine' }), /in use/);
  go();
  assert.equal((await first).outcome, 'refused');
});

test('a receipt is known also when its asset has another name by now', () => {
  const base = { outcome: 'applied', event_id: 'a', at: 'now', position: { shard: 1, seq: 1 }, replayed: true } as const;
  const of = (amount: number) => ({ ...base, user_id: '7', asset: 'gold', amount, balance_after: 9 });
  const body = { user_id: 7, asset: 'coin', amount: 5, channel: 'manual', transaction_id: 'a' } as const;
  const recharge: Intent = { kind: 'recharge', body };
  const told = (entry: { intent: Intent; minted: boolean }, receipt: unknown) => isToldBy(entry, receipt as Parameters<typeof isToldBy>[1]);
  assert.ok(told({ intent: recharge, minted: false }, of(5)) && !told({ intent: recharge, minted: false }, of(6)));
  const change = (asset: string, amount: number) => [{ user_id: '7', asset, amount }];
  const moved = (amount: number) => ({ ...base, user_id: '7', debits: change('gold', amount), credits: change('gold', amount) });
  const intent: Intent = { kind: 'transfer', body: { user_id: 7, debits: [{ asset: 'coin', amount: 5 }], credits: change('coin', 5) } };
  assert.ok(told({ intent, minted: false }, moved(5)) && !told({ intent, minted: false }, moved(6)));
  assert.ok(told({ intent, minted: true }, moved(6)) && !told({ intent, minted: true }, of(5)));
});

test('a tap that may be kept is not told as lost', async () => {
  class Unsure extends MemoryOutbox {
    override async put(): Promise<void> {
      throw new OutboxError('the sync failed', true);
    }
  }
  const keys: string[] = [];
  const fetch = answering(['insufficient_funds'], keys);
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox: new Unsure(), fetch });
  const combos = new Combos(client, { quietMs: 60_000, longestMs: 60_000 });
  const taps = [1, 2].map(() => combos.tap({ room: 1001, gift_id: 9, to: ['2001'] }));
  combos.flush();
  assert.deepEqual((await Promise.all(taps)).map(({ outcome }) => outcome), ['pending', 'pending']);
  assert.deepEqual(keys, []);
  await client.close();
});

test('the very first gift has the times of the server', async () => {
  for (const clock of [() => 1_000_000, () => 4_102_444_800_000, Date.now]) {
    const [outbox, keys] = [new Failing(), [] as string[]];
    outbox.removesFail = true;
    const answer = answering(['insufficient_funds'], keys);
    const fetch: typeof globalThis.fetch = async (url, init) => {
      const said = await answer(url, init);
      said.headers.set('date', new Date().toUTCString());
      return said;
    };
    const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch, clock, giveUpMs: 60_000 });
    // Refused, and not given up; but that cannot be kept, so that the entry can be looked at.
    const told = await client.sendGift(gift);
    assert.match(told.outcome === 'pending' ? told.why : told.outcome, /^refused/);
    const [kept] = await outbox.entries();
    assert.ok(kept !== undefined);
    const isNow = (time: number) => Math.abs(time - Date.now()) < 30_000;
    assert.deepEqual(keys, [kept.key]);
    const times = [kept.madeAt, Number.parseInt(kept.key.replaceAll('-', '').slice(0, 12), 16), kept.giveUpAt! - 60_000, kept.horizon - 72_000];
    assert.ok(times.every(isNow), JSON.stringify(kept));
    assert.equal(kept.id === kept.key, isNow(clock()), 'a key that is right is left as it is');
  }
});

test('nothing is sent before the time of the server is known', async () => {
  const outbox = new MemoryOutbox();
  const gone: typeof globalThis.fetch = () => Promise.reject(new Error('the network is gone'));
  const first = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch: gone, patienceMs: 50 });
  assert.equal((await first.sendGift(gift)).outcome, 'pending');
  assert.deepEqual((await outbox.entries()).map(({ horizon }) => horizon), [NEVER_SENT]);
  const keys: string[] = [];
  const fetch = answering(['insufficient_funds'], keys);
  const second = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch });
  // Nothing was ever sent, so that nothing is in doubt and nobody has to wait.
  assert.deepEqual((await second.resume()).map(({ outcome }) => outcome.outcome), ['refused']);
  assert.equal(keys.length, 1);
});

/** Answers everything with this, and notes what was posted and when. */
function saying(body: () => BodyInit, headers: Record<string, string>, status = 200): [typeof globalThis.fetch, number[]] {
  const posts: number[] = [];
  const fetch: typeof globalThis.fetch = async (_url, init) => {
    if (init?.method === 'POST') posts.push(performance.now());
    return new Response(body(), { status, headers });
  };
  return [fetch, posts];
}

test('the receipt of something else settles nothing, nor does an answer without an end', async () => {
  const other = { outcome: 'applied', event_id: 'e', user_id: '7', asset: 'coin', amount: 5, balance_after: 5 };
  const endless = () => new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(1 << 20)) }, { highWaterMark: 0 });
  for (const body of [() => JSON.stringify(other), endless]) {
    const [fetch, posts] = saying(body, { 'content-type': 'application/json' });
    const outbox = new MemoryOutbox();
      const options = { url: 'http://nowhere', bearer: 'a token', outbox, fetch, attemptMs: 60_000, patienceMs: 200 };
    const client = await Client.open(options);
    assert.equal((await client.sendGift(gift)).outcome, 'pending');
    assert.deepEqual([client.leftOpen, (await outbox.entries()).length], [1, 1]);
    assert.ok(posts.length > 0 || body === endless);
  }
});

test('a server that wants to be left in peace is, also when it was only asked', async () => {
  const outbox = new MemoryOutbox();
  const intent: Intent = { kind: 'gift', room: '1', body: { gift_id: 1, count: 1, to: ['2'] } };
  const now = Date.now();
  await outbox.put({ id: 'a', key: 'a', minted: false, intent, madeAt: now, horizon: now + 60_000 });
  const keys: string[] = [];
  const answer = answering(['insufficient_funds'], keys);
  let looks = 0;
  const fetch: typeof globalThis.fetch = async (url, init) => {
    if (!String(url).includes('/v1/gifts/') || (looks += 1) > 1) return answer(url, init);
    const body = { type: 'about:blank', title: 'so', status: 429, code: 'rate_limited', detail: 'so', retryable: true };
    return new Response(JSON.stringify(body), { status: 429, headers: { 'content-type': 'application/problem+json', 'retry-after': '1' } });
  };
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch });
  const began = performance.now();
  assert.deepEqual((await client.resume()).map(({ outcome }) => outcome.outcome), ['refused']);
  assert.ok(performance.now() - began >= 1_000, 'it came back too soon');
  assert.equal(keys.length, 1);
});

test('taps that are pending can be resumed', async () => {
  class Once extends MemoryOutbox {
    puts = 0;
    override async put(entry: Entry): Promise<void> {
      this.puts += 1;
      if (this.puts === 2 || this.puts === 3) throw new OutboxError('the disk is full');
      await super.put(entry);
    }
  }
  const [outbox, keys] = [new Once(), [] as string[]];
  const fetch = answering(['insufficient_funds'], keys);
  const client = await Client.open({ url: 'http://nowhere', bearer: 'a token', outbox, fetch });
  const combos = new Combos(client, { quietMs: 60_000, longestMs: 60_000 });
  // The first is kept, the second is not, and then the outbox fails once more.
  const tapped = [1, 2].map(() => combos.tap({ room: 1001, gift_id: 9, to: ['2001'] }));
  combos.flush();
  const taps = await Promise.allSettled(tapped);
  assert.deepEqual(taps.map((it) => (it.status === 'fulfilled' ? it.value.outcome : it.status)), ['pending', 'rejected']);
  assert.equal(client.leftOpen, 1);
  assert.deepEqual((await client.resume()).map(({ outcome }) => outcome.outcome), ['refused']);
});
