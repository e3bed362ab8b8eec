// What has no place in the scenarios: services, questions, tokens, keys.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Client, MemoryOutbox, ReadError } from '../src/index.js';
import { isUsable, mint, ofPayment } from '../src/key.js';
// @ts-expect-error: a script without types
import { committed, typesOf } from '../../types.mjs';
// @ts-expect-error: a script without types
import { built, modules, served } from '../../web.mjs';
import { Server } from './server.js';

let server: Server;
before(async () => void (server = await Server.start()));
after(() => server.end());

function service(): Promise<Client> {
  return Client.open({ url: server.url, bearer: server.serviceKey, outbox: new MemoryOutbox() });
}

test('a service recharges, transfers, sends and asks', async () => {
  const client = await service();
  const recharge = { user_id: 7001, asset: 'coin', amount: 500, channel: 'manual', transaction_id: 'order 1' } as const;
  const first = await client.recharge(recharge);
  assert.ok(first.outcome === 'applied' && first.receipt.amount === 500 && !first.receipt.replayed);
  // Its receipt is found by the id that both sides make of channel and transaction.
  assert.equal(await ofPayment('manual', 'order 1'), first.receipt.event_id);
  const again = await client.recharge(recharge);
  assert.ok(again.outcome === 'applied' && again.receipt.replayed);
  const other = await client.recharge({ ...recharge, amount: 501 });
  assert.ok(other.outcome === 'refused' && other.problem.code === 'id_reused');

  const credits = [{ user_id: 7002, asset: 'coin', amount: 120 }];
  const moved = await client.transfer({ user_id: 7001, debits: [{ asset: 'coin', amount: 120 }], credits });
  assert.ok(moved.outcome === 'applied' && moved.receipt.debits[0]?.balance_after === 380);
  const much = { asset: 'coin', amount: 9_000 };
  const dear = await client.transfer({ user_id: 7001, debits: [much], credits: [{ user_id: 7002, ...much }] });
  assert.ok(dear.outcome === 'refused' && dear.problem.code === 'insufficient_funds');
  assert.deepEqual([dear.problem.needed, dear.problem.available], [9_000, 380]);

  const gift = await client.sendGift({ room: 1001, gift_id: 9, count: 2, to: [2001], sender: 7001 });
  assert.ok(gift.outcome === 'applied' && gift.receipt.balance_after === 370);
  const found = await client.receipt(gift.receipt.event_id, 7001);
  assert.ok(found !== undefined && 'gift_id' in found && found.total === 10);
  assert.equal(await client.receipt('nothing', 7001), undefined);

  const { balances } = await client.balancesOf(2001, gift.receipt.position);
  assert.ok(balances.some(({ asset, amount }) => asset === 'coin' && amount >= 10));
  const users = await client.balancesOfUsers([7002, '7001']);
  assert.deepEqual(users.map(({ user_id }) => user_id), ['7002', '7001']);
  const page = await client.historyOf(7001, { kind: 'gift', limit: 1 });
  assert.equal(page.items[0]?.event_id, gift.receipt.event_id);
  const { gifts } = await client.catalog(1001);
  assert.ok(gifts.some(({ gift_id, price }) => gift_id === 9 && price === 5));
  await assert.rejects(client.balances(), (error) => error instanceof ReadError && error.problem?.code === 'forbidden');
  await client.close();
});

test('a token that is not taken is asked for anew', async () => {
  await server.recharge(7010, 100);
  const asked: boolean[] = [];
  const bearer = (renew: boolean) => {
    asked.push(renew);
    return renew ? server.token(7010) : 'an old one';
  };
  const client = await Client.open({ url: server.url, bearer, outbox: new MemoryOutbox() });
  const sent = await client.sendGift({ room: '1001', gift_id: 9, count: 1, to: ['2001'] });
  assert.equal(sent.outcome, 'applied');
  assert.deepEqual(asked, [false, true]);
  await client.close();
  const stranger = await Client.open({ url: server.url, bearer: 'nobody', outbox: new MemoryOutbox() });
  const refused = await stranger.sendGift({ room: '1001', gift_id: 9, count: 1, to: ['2001'] });
  assert.ok(refused.outcome === 'refused' && refused.problem.code === 'unauthenticated');
  await stranger.close();
});

test('a pass is fetched where a room asks for one', async () => {
  const secret = 'a secret of passes, which is long enough';
  const strict = await Server.start({ LARGESSE__AUTH__ROOM_PASS__SECRET: secret });
  const client = await Client.open({ url: strict.url, bearer: strict.token(3001), outbox: new MemoryOutbox() });
  const send = async () => {
    const sent = await client.sendGift({ room: 1001, gift_id: 9, count: 1, to: ['2001'] });
    return sent.outcome === 'applied' ? sent.receipt.balance_after : sent;
  };
  assert.deepEqual([await send(), await send()], [99_995, 99_990]);
  await client.close();
  await strict.end();
});

test('a server that is not there leaves it open, and nothing is lost', async () => {
  const outbox = new MemoryOutbox();
  const options = { url: 'http://127.0.0.1:9', bearer: 'nobody', outbox, patienceMs: 300 };
  const client = await Client.open(options);
  const gift = { room: '1001', gift_id: 9, count: 1, to: ['2001'] };
  assert.equal((await client.sendGift(gift)).outcome, 'pending');
  assert.equal(client.leftOpen, 1);
  const [entry] = await outbox.entries();
  assert.ok(await client.forget(entry!.id));
  assert.deepEqual([client.leftOpen, await outbox.entries()], [0, []]);
});

test('keys are fresh, have the time, and fit what the server takes', () => {
  const [one, two] = [mint(1_700_000_000_123), mint(1_700_000_000_123)];
  assert.notEqual(one, two);
  assert.match(one, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(Number.parseInt(one.replaceAll('-', '').slice(0, 12), 16), 1_700_000_000_123);
  for (const good of ['a', 'order 7', one, 'x'.repeat(128)]) assert.ok(isUsable(good), good);
  for (const bad of ['', ' a', 'ä', 'a\n', 'x'.repeat(129)]) assert.ok(!isUsable(bad), bad);
});

test('the types are those of the server', async () => {
  const answer = await fetch(`${server.url}/openapi.json`);
  const types = (await typesOf(await answer.json())) as string;
  assert.ok(types === committed(), 'src/openapi.ts is old: npm run types -- URL, with a server of this version');
});

test('the server has the modules that were built from these sources', async () => {
  const names = modules() as string[];
  assert.deepEqual(readdirSync(served as string).sort(), names, 'web/client is old: npm run build');
  for (const name of names) {
    const [made, there] = [readFileSync(join(built as string, name), 'utf8'), readFileSync(join(served as string, name), 'utf8')];
    assert.ok(made === there, `web/client/${name} is old: npm run build`);
    const answer = await fetch(`${server.url}/client/${name}`);
    assert.match(answer.headers.get('content-type') ?? '', /^text\/javascript/);
    assert.ok((await answer.text()) === made, `the binary was built with another ${name}`);
    assert.ok(!/from '(?!\.\/)/.test(made), `${name} needs something that browsers do not have`);
  }
});
