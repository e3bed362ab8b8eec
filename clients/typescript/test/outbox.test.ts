import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { BrowserOutbox, type Entry, MemoryOutbox, type Outbox, OutboxError } from '../src/index.js';
import { FileOutbox } from '../src/node.js';

const folder = mkdtempSync(join(tmpdir(), 'largesse-outbox-'));
after(() => rmSync(folder, { recursive: true }));

function entry(id: string, madeAt: number, key = id): Entry {
  const body = { gift_id: 1, count: 1, to: ['2'] };
  return { id, key, minted: true, intent: { kind: 'gift', room: '1', body }, madeAt, horizon: 2 };
}

async function keys(outbox: Outbox): Promise<string[]> {
  return (await outbox.entries()).map(({ id, key }) => `${id}=${key}`);
}

/** A shelf and locks as browsers have them, for as much as the outbox asks of them. */
function browser() {
  const items = new Map<string, string>();
  const held = new Set<string>();
  const shelf = {
    get length() {
      return items.size;
    },
    key: (place: number) => [...items.keys()][place] ?? null,
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, value: string) => void items.set(name, value),
    removeItem: (name: string) => void items.delete(name),
  };
  const request = async (name: string, _options: LockOptions, work: (lock: Lock | null) => unknown) => {
    if (held.has(name)) return work(null);
    held.add(name);
    await work({ name, mode: 'exclusive' });
    held.delete(name);
    return undefined;
  };
  return { items, held, shelf, locks: { request } as unknown as LockManager };
}

test('every outbox gives back what was put into it, in order', async () => {
  const { shelf, locks } = browser();
  const path = join(folder, 'order');
  const all: [string, Outbox][] = [
    ['memory', new MemoryOutbox()],
    ['file', await FileOutbox.open(path, '2 at home')],
    ['browser', await BrowserOutbox.open('3001', shelf, locks)],
  ];
  for (const [name, outbox] of all) {
    await Promise.all([outbox.put(entry('b', 2)), outbox.put(entry('a', 1)), outbox.put(entry('c', 3))]);
    await outbox.remove('b');
    const second = entry('a', 1, 'a2');
    await outbox.put(second);
    second.key = 'changed afterwards';
    assert.deepEqual(await keys(outbox), ['a=a2', 'c=c'], name);
    await outbox.close();
  }
  const again = await FileOutbox.open(path, '2 at home');
  assert.deepEqual(await keys(again), ['a=a2', 'c=c']);
  await again.close();
});

test('a torn end of the file is cut, and damage elsewhere is refused', async () => {
  const path = join(folder, 'torn');
  const first = await FileOutbox.open(path, '2 at home');
  await first.put(entry('a', 1));
  await first.close();
  const good = readFileSync(path);
  for (let torn = 1; torn < good.length; torn += 7) {
    writeFileSync(path, Buffer.concat([good, good.subarray(0, torn)]));
    const outbox = await FileOutbox.open(path, '2 at home');
    assert.deepEqual(await keys(outbox), ['a=a']);
    await outbox.put(entry('b', 2));
    await outbox.close();
    const again = await FileOutbox.open(path, '2 at home');
    assert.deepEqual(await keys(again), ['a=a', 'b=b']);
    await again.close();
  }
  // A hole with the end of its line, as a crash leaves it where blocks reach the disk in another order.
  for (const hole of ['\0\0\0\0\n', '\0\0\n\0\0}\n{']) {
    writeFileSync(path, Buffer.concat([good, Buffer.from(hole)]));
    const outbox = await FileOutbox.open(path, '2 at home');
    assert.deepEqual(await keys(outbox), ['a=a']);
    await outbox.close();
  }
  writeFileSync(path, Buffer.concat([Buffer.from('{"put"\n'), good]));
  await assert.rejects(FileOutbox.open(path, '2 at home'), OutboxError);
});

test('a file is for one process, and the file of a process that was killed is free', async () => {
  const path = join(folder, 'mine');
  const outbox = await FileOutbox.open(path, '2 at home');
  await assert.rejects(FileOutbox.open(path, '2 at home'), /in use by this process/);
  const module = new URL('../src/node.js', import.meta.url).href;
  const script = (then: string) =>
    `const { FileOutbox } = await import(${JSON.stringify(module)});
     await FileOutbox.open(${JSON.stringify(path)}, '2 at home').then(() => { ${then} }, (error) => console.log(error.message));`;
  const run = (then: string) => spawnSync(process.execPath, ['--input-type=module', '-e', script(then)]);
  assert.match(run('').stdout.toString(), new RegExp(`in use by process ${process.pid}`));
  await outbox.close();
  assert.equal(run('process.kill(process.pid, "SIGKILL")').signal, 'SIGKILL');
  const after = await FileOutbox.open(path, '2 at home');
  await after.close();
});

test('a lock that was left behind is taken over, and one of another machine is not', async () => {
  const path = join(folder, 'locked');
  const open = async () => (await FileOutbox.open(path, '2 at home')).close();
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  const free = ['', 'nonsense', String(gone), JSON.stringify({ pid: gone, host: hostname() })];
  // The number of a process that lives, but began at another time than the one that had the lock.
  if (existsSync('/proc/self/stat')) free.push(JSON.stringify({ pid: process.ppid, host: hostname(), started: '1' }));
  for (const left of free) {
    writeFileSync(`${path}.lock`, left);
    await open();
  }
  writeFileSync(`${path}.lock`, JSON.stringify({ pid: process.pid, host: 'another machine' }));
  await assert.rejects(open(), /of another machine/);
  assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('locked')), ['locked', 'locked.lock']);
  rmSync(`${path}.lock`);
  // From another thread, which has a memory of its own.
  const outbox = await FileOutbox.open(path, '2 at home');
  const module = new URL('../src/node.js', import.meta.url).href;
  const script = `const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(module)}).then(({ FileOutbox }) => FileOutbox.open(${JSON.stringify(path)}, '2 at home'))
      .then(() => parentPort.postMessage('open'), (error) => parentPort.postMessage(error.message));`;
  const [told] = await once(new Worker(script, { eval: true }), 'message');
  if (existsSync('/proc/self/stat')) assert.match(String(told), /another thread of this process/);
  await outbox.close();
});

test('of many who find a lock left behind, one takes it over', async () => {
  const path = join(folder, 'raced');
  const module = new URL('../src/node.js', import.meta.url).href;
  writeFileSync(`${path}.lock`, String(spawnSync(process.execPath, ['-e', '']).pid));
  const script = `import(${JSON.stringify(module)}).then(({ FileOutbox }) => FileOutbox.open(${JSON.stringify(path)}, '2 at home'))
    .then(() => 'open', (error) => error.message).then((told) => { console.log(told); process.stdin.resume(); });`;
  const racers = [...Array(6)].map(() => spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] }));
  // Each keeps what it has until all have told.
  const told = await Promise.all(racers.map(async (racer) => String((await once(racer.stdout, 'data'))[0]).trim()));
  for (const racer of racers) racer.kill();
  assert.ok(told.filter((it) => it === 'open').length <= 1, told.join());
  assert.ok(told.every((it) => it === 'open' || /in use|being opened/.test(it)), told.join());
});

test('the file stays small', async () => {
  const path = join(folder, 'small');
  const outbox = await FileOutbox.open(path, '2 at home');
  await outbox.put(entry('stays', 0));
  for (let round = 0; round < 30; round++) {
    const ids = [...Array(100).keys()].map((number) => `${round}-${number}`);
    await Promise.all(ids.map((id) => outbox.put(entry(id, round))));
    await Promise.all(ids.map((id) => outbox.remove(id)));
  }
  await outbox.close();
  const lines = readFileSync(path, 'utf8').split('\n').length;
  assert.ok(lines < 4_500, `${lines} lines`);
  const again = await FileOutbox.open(path, '2 at home');
  assert.deepEqual(await keys(again), ['stays=stays']);
  await again.close();
});

test('a page takes over what pages that are gone have left, and nothing of those that are open', async () => {
  const { items, held, shelf, locks } = browser();
  const [gone, open] = [await BrowserOutbox.open('3001', shelf, locks), await BrowserOutbox.open('3001', shelf, locks)];
  const other = await BrowserOutbox.open('3002', shelf, locks);
  gone.putNow(entry('of the gone', 1));
  open.putNow(entry('of the open', 2));
  other.putNow(entry('of another user', 3));
  const before = await BrowserOutbox.open('3001', shelf, locks);
  assert.deepEqual(await keys(before), []);
  await gone.close();
  await new Promise((resolve) => setImmediate(resolve));
  const next = await BrowserOutbox.open('3001', shelf, locks);
  assert.deepEqual(await keys(next), ['of the gone=of the gone']);
  assert.deepEqual(await keys(open), ['of the open=of the open']);
  assert.equal(items.size, 3);
  // The part of the page that is gone belongs to the new one now.
  assert.equal(held.size, 5);
  await assert.rejects(BrowserOutbox.open('1', shelf, undefined as unknown as LockManager), OutboxError);
});

test('a full browser can still take over what is there, send it and forget it', async () => {
  const { items, held, shelf, locks } = browser();
  const gone = await BrowserOutbox.open('3001', shelf, locks);
  gone.putNow(entry('a', 1));
  await gone.close();
  await new Promise((resolve) => setImmediate(resolve));
  const full = { ...shelf, setItem: (name: string) => assert.ok(items.has(name), 'the quota is exceeded') };
  const next = await BrowserOutbox.open('3001', full, locks);
  assert.deepEqual(await keys(next), ['a=a']);
  await next.put(entry('a', 1));
  await assert.rejects(next.put(entry('b', 2)), OutboxError);
  await next.remove('a');
  assert.deepEqual([await keys(next), items.size], [[], 0]);
  await next.close();
  await new Promise((resolve) => setImmediate(resolve));
  const broken = { ...shelf, key: () => assert.fail('it cannot be read'), length: 1 };
  await assert.rejects(BrowserOutbox.open('3001', broken, locks));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(held.size, 0, 'who cannot open it holds nothing');
});

test('what a browser does not keep is not sent', async () => {
  const { shelf, locks } = browser();
  const full = { ...shelf, setItem: () => assert.fail('the quota is exceeded') };
  const outbox = await BrowserOutbox.open('3001', full, locks);
  await assert.rejects(outbox.put(entry('a', 1)), OutboxError);
});
