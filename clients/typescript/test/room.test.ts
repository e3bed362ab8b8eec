// The room page in a real browser: two viewers and a host side by side, on a server that is killed under them.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { AxeBuilder } from '@axe-core/playwright';
import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core';

import { Server, root } from './server.js';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
/** Pictures of the page, kept for whoever wants to look at them. */
const pictures = join(root, 'target/room-page');

let server: Server;
let browser: Browser;

before(async () => {
  mkdirSync(pictures, { recursive: true });
  server = await Server.start();
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
});

after(async () => {
  await browser?.close();
  await server?.end();
});

interface Look {
  page: Page;
  context: BrowserContext;
  /** What the console said that a user should never cause. */
  errors: string[];
}

/** A page in a browser of its own. */
async function open(options: Parameters<Browser['newContext']>[0] = {}): Promise<Look> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    // A server that is away is told by the browser itself.
    const isNetwork = /ERR_CONNECTION|WebSocket connection|ERR_EMPTY_RESPONSE|ERR_SOCKET/.test(message.text());
    if (message.type() === 'error' && !isNetwork) errors.push(message.text());
  });
  return { page, context, errors };
}

/** Looks at the room as somebody. */
async function look(as: number, options: Parameters<Browser['newContext']>[0] = {}): Promise<Look> {
  const opened = await open(options);
  const { page } = opened;
  await page.goto(`${server.url}/room?as=${as}`);
  await page.locator('#status[data-state="live"]').waitFor();
  await page.locator('#gifts button').first().waitFor();
  return opened;
}

const gift = (page: Page, id: number) => page.locator(`#gifts button[data-gift="${id}"]`);
const balance = async (page: Page) => Number((await page.locator('#balance').textContent())!.replace(/\D/g, ''));
const total = async (page: Page) => Number((await page.locator('#total').textContent())!.replace(/\D/g, ''));
const sum = async (page: Page) => Number(await page.locator('#sum').getAttribute('data-value'));

/** Waits until a figure is what it should be. */
async function until(what: string, want: number, figure: () => Promise<number>): Promise<void> {
  const patience = Date.now() + 20_000;
  let last = await figure();
  while (last !== want) {
    assert.ok(Date.now() < patience, `${what} is ${last} and should be ${want}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    last = await figure();
  }
}

test('two viewers and a host see the same room, also when the server is killed under them', async () => {
  const [ann, bob, host] = [await look(3001), await look(3002), await look(2001)];
  const before = await balance(ann.page);

  // Seven taps on a rose, one coin each, and something large.
  for (let tap = 0; tap < 7; tap++) await gift(ann.page, 1).click();
  await ann.page.locator('#combos p strong', { hasText: '×7' }).waitFor();
  await bob.page.locator('#combos p strong', { hasText: '×7' }).waitFor();
  await until('the balance of the sender', before - 7, () => balance(ann.page));
  const large = ann.page.locator('#gifts button', { hasText: 'Castle' }).first();
  const price = Number((await large.locator('small').textContent())!.replace(/\D/g, ''));
  await large.click();
  await bob.page.locator('#feed li[data-big]').first().waitFor();
  await bob.page.locator('#effects img').first().waitFor({ state: 'attached' });
  for (const { page } of [ann, bob, host]) await until('the total', 7 + price, () => total(page));
  await until('what the host got', 7 + price, () => balance(host.page));
  await host.page.locator('#board li', { hasText: '3001' }).waitFor();
  // Streaks end, and everybody is told.
  await bob.page.locator('#combos p').first().waitFor({ state: 'detached', timeout: 20_000 });

  await bob.page.screenshot({ path: join(pictures, 'desk.png'), fullPage: true });
  await server.restart();
  for (const { page } of [ann, bob, host]) {
    await page.locator('#status[data-state="live"]').waitFor({ timeout: 30_000 });
  }
  for (let tap = 0; tap < 3; tap++) await gift(bob.page, 1).click();
  for (const { page } of [ann, bob, host]) {
    await until('the total after the restart', 10 + price, () => total(page));
    await until('what was summed up from deltas', 10 + price, () => sum(page));
  }
  assert.equal((await server.given(1001)).value, 10 + price, 'as the feed has it');
  for (const { errors, context } of [ann, bob, host]) {
    assert.deepEqual(errors, []);
    await context.close();
  }
});

test('too little money is told in words, and coins of the playground help', async () => {
  const viewer = await look(3003);
  const { page } = viewer;
  const dearest = page.locator('#gifts button').last();
  const price = Number((await dearest.locator('small').textContent())!.replace(/\D/g, ''));
  while ((await balance(page)) >= price) {
    const had = await balance(page);
    await dearest.click();
    await until('the balance', had - price, () => balance(page));
  }
  await dearest.click();
  await page.locator('#note', { hasText: /coin/i }).waitFor();
  const had = await balance(page);
  await page.locator('#recharge').click();
  await until('the balance', had + 10_000, () => balance(page));
  // The refused request is all that the console may have to say.
  assert.deepEqual(viewer.errors.filter((error) => !error.includes('402')), []);
  await viewer.context.close();
});

test('the page can be used by everybody, on a phone and on a desk, by day and by night', async () => {
  for (const [name, options] of [
    ['phone', { viewport: { width: 390, height: 844 }, hasTouch: true, colorScheme: 'light' }],
    ['phone-night', { viewport: { width: 390, height: 844 }, hasTouch: true, colorScheme: 'dark' }],
    ['desk-night', { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' }],
  ] as const) {
    const { page, context, errors } = await look(3002, options);
    await gift(page, 1).click();
    await page.locator('#feed li').first().waitFor();
    const { violations } = await new AxeBuilder({ page }).analyze();
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
    assert.deepEqual(told, [], name);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${name} is ${overflow} pixels too wide`);
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    assert.deepEqual(errors, []);
    await context.close();
  }
});

test('an overlay shows what is given on nothing, with a token that can only look', async () => {
  await server.set(1002, { hosts: ['2001', '2002'], plugins: [{ kind: 'goal', asset: 'coin', target: 1_000 }] });
  const overlay = await open({ viewport: { width: 1280, height: 720 } });
  const { page } = overlay;
  const token = server.token(3001, '--scope', 'read');
  await page.goto(`${server.url}/overlay#room=1002&token=${token}`);
  await page.locator('html[data-status="live"]').waitFor();
  await page.locator('#plugins', { hasText: 'Goal: 0 of 1,000 coin' }).waitFor();
  assert.equal(await page.locator('#top').isVisible(), false, 'nobody leads yet');

  const sends = async (viewer: number, gift_id: number, count: number): Promise<number> => {
    const headers = {
      Authorization: `Bearer ${server.token(viewer)}`,
      'Content-Type': 'application/json',
      'Idempotency-Key': crypto.randomUUID(),
    };
    const body = JSON.stringify({ gift_id, count, to: ['2001'] });
    const answer = await fetch(`${server.url}/v1/rooms/1002/gifts`, { method: 'POST', headers, body });
    assert.equal(answer.status, 200, await answer.clone().text());
    return ((await answer.json()) as { total: number }).total;
  };
  const catalog = (await (await fetch(`${server.url}/v1/rooms/1002/catalog`)).json()) as {
    gifts: { gift_id: number; name: string; price: number; effects_url?: string }[];
  };
  const affordable = catalog.gifts.filter(({ price, effects_url }) => price > 100 && price < 900 && effects_url);
  const large = affordable.sort((one, other) => other.price - one.price)[0]!;
  const given = [await sends(3003, 1, 1), await sends(3002, 1, 7), await sends(3001, large.gift_id, 1)];
  await page.locator('#combos p strong', { hasText: '×7' }).waitFor();
  await page.locator('#effects img').first().waitFor({ state: 'attached' });
  await page.locator('#feed li', { hasText: `3001 gives ${large.name} to 2001` }).waitFor();
  const total = given.reduce((sum, one) => sum + one, 0);
  await page.locator('#plugins', { hasText: `Goal: ${total} of` }).waitFor();
  await until('the goal bar', total, () => page.locator('#plugins progress').evaluate((bar: HTMLProgressElement) => bar.value));
  const leaders = page.locator('#board li span:nth-child(2)');
  await page.locator('#board li').nth(2).waitFor();
  assert.deepEqual(await leaders.allTextContents(), ['3001', '3002', '3003']);

  const grounds = await page.evaluate(() =>
    [document.documentElement, document.body].map((it) => getComputedStyle(it).backgroundColor),
  );
  assert.deepEqual(grounds, ['rgba(0, 0, 0, 0)', 'rgba(0, 0, 0, 0)']);
  const { violations } = await new AxeBuilder({ page }).analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`), []);
  await page.screenshot({ path: join(pictures, 'overlay.png'), omitBackground: true });
  // As it is over a picture.
  await page.addStyleTag({ content: 'html { background: linear-gradient(135deg, #2b5876, #c98b5e) }' });
  await sends(3002, 1, 99);
  await page.locator('#feed li', { hasText: '×99' }).waitFor();
  await page.screenshot({ path: join(pictures, 'overlay-over-a-picture.png') });
  assert.deepEqual(overlay.errors, []);
  await overlay.context.close();
});

test('an overlay says what is wrong with its address', async () => {
  const { page, context } = await open();
  await page.goto(`${server.url}/overlay`);
  await page.locator('#note', { hasText: '/overlay#room=…&token=…' }).waitFor();
  // Another address behind `#` is another page.
  await page.evaluate(() => (location.hash = 'room=1001&token=nonsense'));
  await page.locator('#note', { hasText: /token/i }).filter({ hasNotText: '#room' }).waitFor();
  await context.close();
});
