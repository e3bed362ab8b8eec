// The client in a real browser, from the modules that the server has, on a page that is closed in the middle.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core';

import { Proxy } from './proxy.js';
import { Server } from './server.js';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const viewer = 4_800;

let server: Server;
let proxy: Proxy;
let browser: Browser;
let context: BrowserContext;

before(async () => {
  assert.ok(existsSync(executablePath), `no browser at ${executablePath}: install chromium, or name one in CHROMIUM`);
  server = await Server.start();
  proxy = await Proxy.start(() => Promise.reject(new Error('nobody is to be killed here')));
  proxy.target = server.url;
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  context = await browser.newContext();
  await server.recharge(viewer, 1_000);
});

after(async () => {
  await browser?.close();
  proxy?.end();
  await server?.end();
});

/** A page of the server's own origin that has opened the client: `client` and `combos`. */
async function open(): Promise<Page> {
  const page = await context.newPage();
  await page.route('**/room.html', (route) =>
    route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>A room</title>' }),
  );
  await page.goto(`${proxy.url}/room.html`);
  await page.evaluate(async (token) => {
    const module = '/client/index.js';
    const { BrowserOutbox, Client, Combos } = await import(module);
    const outbox = await BrowserOutbox.open('4800');
    const client = await Client.open({ url: '', bearer: token, outbox, attemptMs: 30_000, backoffMinMs: 50 });
    Object.assign(globalThis, { client, combos: new Combos(client, { quietMs: 50 }) });
  }, server.token(viewer));
  return page;
}

declare const client: import('../src/index.js').Client;
declare const combos: import('../src/index.js').Combos;

test('taps in a page are one gift, also when its answer is lost', async () => {
  const page = await open();
  proxy.reset();
  proxy.faults(['drop_answer']);
  const outcomes = await page.evaluate(() => {
    const taps = [1, 2, 3].map(() => combos.tap({ room: 1001, gift_id: 9, to: ['2001'] }));
    return Promise.all(taps).then((all) => all.map((it) => it.outcome));
  });
  assert.deepEqual(outcomes, ['applied', 'applied', 'applied']);
  assert.deepEqual((await server.sent(viewer)).map(({ count }) => count), [3]);
  await page.close();
});

test('what was tapped when a page closes is sent by the next, and one that is open is left alone', async () => {
  const other = await open();
  const page = await open();
  proxy.reset();
  proxy.faults(['hold']);
  await page.evaluate(() => {
    void combos.tap({ room: 1001, gift_id: 10, to: ['2001'] });
    combos.flush();
    for (let tap = 0; tap < 4; tap++) void combos.tap({ room: 1001, gift_id: 9, to: ['2002'] });
  });
  await proxy.untilSends(1);
  await page.close();
  await proxy.release();
  const next = await open();
  const settled = await next.evaluate(() => client.resume());
  assert.deepEqual(settled.map(({ outcome }) => outcome.outcome), ['applied', 'applied']);
  const sent = (await server.sent(viewer)).slice(1);
  assert.deepEqual(sent.map(({ gift_id, count }) => [gift_id, count]), [[10, 1], [9, 4]]);
  assert.equal(await other.evaluate(() => client.leftOpen), 0);
  assert.deepEqual(await next.evaluate(() => Object.keys(localStorage)), []);
  await Promise.all([other.close(), next.close()]);
});
