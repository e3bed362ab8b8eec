import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Client, Combos, MemoryOutbox, type Outcome, type Tap } from '../src/index.js';
import { FileOutbox } from '../src/node.js';
import { Proxy } from './proxy.js';
import { Server } from './server.js';

const heart: Tap = { room: 1001, gift_id: 9, to: ['2001'] };
let server: Server;
let proxy: Proxy;
let viewer = 4_500;

before(async () => {
  server = await Server.start();
  proxy = await Proxy.start(() => Promise.reject(new Error('nobody is to be killed here')));
  proxy.target = server.url;
});

after(async () => {
  proxy.end();
  await server.end();
});

async function open(outbox: string): Promise<Client> {
  const options = { attemptMs: 3_000, backoffMinMs: 50, backoffMaxMs: 400, patienceMs: 10_000 };
  const bearer = server.token(viewer);
  return Client.open({ url: proxy.url, bearer, outbox: await FileOutbox.open(join(server.folder, outbox), outbox), ...options });
}

async function fresh(coins: number): Promise<Client> {
  viewer += 1;
  proxy.reset();
  await server.recharge(viewer, coins);
  return open(`outbox-${viewer}`);
}

function totals(outcomes: Outcome[]): unknown[] {
  return outcomes.map((it) => (it.outcome === 'applied' && 'total' in it.receipt ? it.receipt.total : it.outcome));
}

test('taps on the same gift are one gift with a count, and others stay in their order', async () => {
  const client = await fresh(1_000);
  const combos = new Combos(client, { quietMs: 50 });
  const both: Tap = { ...heart, to: ['2001', '2002'] };
  const taps = [heart, heart, heart, both, both, heart].map((tap) => combos.tap(tap));
  assert.equal(combos.gathered, 1);
  assert.deepEqual(totals(await Promise.all(taps)), [15, 15, 15, 20, 20, 5]);
  const sent = await server.sent(viewer);
  assert.deepEqual(sent.map(({ count, peers }) => [count, peers]), [[3, ['2001']], [2, ['2001', '2002']], [1, ['2001']]]);
  assert.equal(proxy.keys.size, 3);
  assert.equal(await server.coins(viewer), 960);
  await client.close();
});

test('a pause ends a combo', async () => {
  const client = await fresh(1_000);
  const combos = new Combos(client, { quietMs: 50, longestMs: 60_000 });
  const taps = [combos.tap(heart), combos.tap(heart)];
  assert.deepEqual(totals(await Promise.all(taps)), [10, 10]);
  await client.close();
});

test('a combo is ended by its longest time, however it is tapped', { timeout: 60_000 }, async () => {
  const client = await fresh(100_000);
  const combos = new Combos(client, { quietMs: 60_000, longestMs: 200 });
  const taps = [combos.tap(heart)];
  // Nobody pauses for a minute, so that only the longest time can end it: then a tap begins another one.
  for (let before = 0; combos.gathered > before; ) {
    before = combos.gathered;
    await new Promise((resolve) => setTimeout(resolve, 5));
    taps.push(combos.tap(heart));
  }
  combos.flush();
  await Promise.all(taps);
  const counts = (await server.sent(viewer)).map(({ count }) => count);
  assert.deepEqual(counts, [taps.length - 1, 1]);
  await client.close();
});

test('what was tapped when the page closes is sent by the next one, once and in order', async () => {
  const client = await fresh(1_000);
  const combos = new Combos(client, { quietMs: 60_000, longestMs: 60_000 });
  proxy.faults(['late_answer']);
  // The first gift is on its way, the second waits for it, the third is still gathered.
  const taps = [combos.tap({ ...heart, gift_id: 10 }), combos.tap(heart), combos.tap(heart)];
  taps.push(combos.tap({ ...heart, to: ['2002'] }));
  await proxy.untilSends(1);
  await client.close();
  void Promise.allSettled(taps);
  const next = await open(`outbox-${viewer}`);
  assert.equal(next.leftOpen, 3);
  const settled = await next.resume();
  assert.deepEqual(totals(settled.map(({ outcome }) => outcome)), [10, 10, 5]);
  const sent = await server.sent(viewer);
  assert.deepEqual(sent.map(({ gift_id, count, peers }) => [gift_id, count, peers]), [
    [10, 1, ['2001']],
    [9, 2, ['2001']],
    [9, 1, ['2002']],
  ]);
  assert.deepEqual([await next.resume(), next.leftOpen], [[], 0]);
  await next.close();
});

test('a gift whose answer is lost is one gift, however many taps it has', async () => {
  const client = await fresh(1_000);
  const combos = new Combos(client, { quietMs: 20 });
  proxy.faults(['drop_answer', 'drop_request']);
  const taps = [...Array(50)].map(() => combos.tap(heart)).concat([combos.tap({ ...heart, to: ['2002'] })]);
  assert.deepEqual(new Set(totals(await Promise.all(taps))), new Set([250, 5]));
  assert.deepEqual((await server.sent(viewer)).map(({ count }) => count), [50, 1]);
  await client.close();
});

test('a tap that cannot be kept is told, and does not count', async () => {
  viewer += 1;
  proxy.reset();
  await server.recharge(viewer, 100);
  class Full extends MemoryOutbox {
    isFull = true;
    override async put(entry: Parameters<MemoryOutbox['put']>[0]): Promise<void> {
      if (this.isFull) throw new Error('there is no room');
      await super.put(entry);
    }
  }
  const outbox = new Full();
  const client = await Client.open({ url: proxy.url, bearer: server.token(viewer), outbox });
  const combos = new Combos(client, { quietMs: 60_000, longestMs: 60_000 });
  await assert.rejects(combos.tap(heart), /no room/);
  outbox.isFull = false;
  const taps = [combos.tap(heart), combos.tap(heart)];
  combos.flush();
  assert.deepEqual(totals(await Promise.all(taps)), [10, 10]);
  outbox.isFull = true;
  const lost = combos.tap({ ...heart, to: ['2002'] });
  combos.flush();
  await assert.rejects(lost, /no room/);
  assert.deepEqual((await server.sent(viewer)).map(({ count }) => count), [2]);
  await client.close();
});
