// What an outbox that fails may not lead to, with a server that answers from a list.

import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { isToldBy } from '../src/exchange.js';
import { Client, Combos, type Entry, type Intent, MemoryOutbox, OutboxError } from '../src/index.js';
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
