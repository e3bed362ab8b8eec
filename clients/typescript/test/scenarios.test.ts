// Runs `clients/scenarios.json` with this client.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Client, type Gift, type GiftReceipt, type Outcome } from '../src/index.js';
import { FileOutbox } from '../src/node.js';
import { type Fault, Proxy } from './proxy.js';
import { Server, root } from './server.js';

/** What a client says; what is not there is not compared. */
interface Report {
  outcome: string;
  total?: number;
  replayed?: boolean;
  code?: string;
}

type Said = Omit<Gift, 'room'>;

interface Step {
  faults?: { sends?: Fault[]; looks?: Fault[] };
  send?: Said;
  reports?: Report;
  takes_ms?: number;
  start?: Said;
  until_sends?: number;
  await?: Report;
  crash?: boolean;
  resume?: Report[];
  recharge?: number;
  release?: boolean;
  expect?: Record<'applied' | 'coins' | 'sends' | 'looks' | 'keys' | 'outbox', number>;
}

interface Scenario {
  name: string;
  coins: number;
  clock_ahead_s?: number;
  patience_ms?: number;
  give_up_ms?: number;
  steps: Step[];
}

const file = JSON.parse(readFileSync(join(root, 'clients/scenarios.json'), 'utf8')) as { scenarios: Scenario[] };
let server: Server;
let proxy: Proxy;

before(async () => {
  server = await Server.start();
  proxy = await Proxy.start(async () => {
    proxy.target = undefined;
    await server.kill();
    await server.begin();
    proxy.target = server.url;
  });
  proxy.target = server.url;
});

after(async () => {
  proxy.end();
  await server.end();
});

class Run {
  #client!: Client;
  #begun: Promise<Outcome<GiftReceipt>> | undefined;
  readonly #token: string;

  constructor(
    private readonly scenario: Scenario,
    private readonly viewer: number,
  ) {
    this.#token = server.token(viewer);
  }

  get #outbox(): string {
    return join(server.folder, `outbox-${this.viewer}`);
  }

  async open(): Promise<void> {
    const { clock_ahead_s = 0, patience_ms = 20_000, give_up_ms } = this.scenario;
    this.#client = await Client.open({
      url: proxy.url,
      bearer: this.#token,
      outbox: await FileOutbox.open(this.#outbox),
      attemptMs: 1_000,
      patienceMs: patience_ms,
      backoffMinMs: 50,
      backoffMaxMs: 400,
      clock: () => Date.now() + clock_ahead_s * 1_000,
      ...(give_up_ms === undefined ? {} : { giveUpMs: give_up_ms }),
    });
  }

  async step(step: Step): Promise<void> {
    if (step.faults) proxy.faults(step.faults.sends, step.faults.looks);
    else if (step.send) {
      const began = performance.now();
      const outcome = await this.#client.sendGift(this.#gift(step.send));
      assertReports(outcome, step.reports!);
      const took = performance.now() - began;
      assert.ok(took >= (step.takes_ms ?? 0), `it took only ${took} ms`);
    } else if (step.start) this.#begun = this.#client.sendGift(this.#gift(step.start));
    else if (step.until_sends) await proxy.untilSends(step.until_sends);
    else if (step.await) assertReports(await this.#begun!, step.await);
    else if (step.crash) await this.crash();
    else if (step.resume) {
      const settled = await this.#client.resume();
      assert.equal(settled.length, step.resume.length);
      for (const [place, report] of step.resume.entries()) assertReports(settled[place]!.outcome, report);
    } else if (step.recharge) await server.recharge(this.viewer, step.recharge);
    else if (step.release) await proxy.release();
    else if (step.expect) await this.#expect(step.expect);
    else assert.fail(`an unknown step: ${JSON.stringify(step)}`);
  }

  /** Nothing of the client is left but its outbox. */
  async crash(): Promise<void> {
    await this.close();
    await this.open();
  }

  async close(): Promise<void> {
    await this.#client.close();
    if (this.#begun !== undefined) await this.#begun;
  }

  #gift(said: Said): Gift {
    const key = said.event_id?.replace('{viewer}', String(this.viewer));
    return { ...said, room: 1001, ...(key === undefined ? {} : { event_id: key }) };
  }

  async #expect(expected: NonNullable<Step['expect']>): Promise<void> {
    const kept = new Set<string>();
    for (const line of readFileSync(this.#outbox, 'utf8').split('\n').slice(0, -1)) {
      const { put, remove } = JSON.parse(line) as { put?: { id: string }; remove?: string };
      if (put !== undefined) kept.add(put.id);
      else if (remove !== undefined) kept.delete(remove);
      else assert.fail(line);
    }
    const applied = (await server.sent(this.viewer)).length;
    const coins = await server.coins(this.viewer);
    const { sends, looks, keys } = proxy;
    const found = { applied, coins, sends, looks, keys: keys.size, outbox: kept.size };
    assert.deepEqual(found, { ...found, ...expected });
  }
}

function assertReports(outcome: Outcome, wanted: Report): void {
  const told: Report = { outcome: outcome.outcome };
  if (outcome.outcome === 'applied') {
    const receipt = outcome.receipt as GiftReceipt;
    if (wanted.total !== undefined) told.total = receipt.total;
    if (wanted.replayed !== undefined) told.replayed = receipt.replayed;
  }
  if (outcome.outcome === 'refused') told.code = outcome.problem.code;
  assert.deepEqual(told, wanted, JSON.stringify(outcome));
}

test('the scenarios are there', () => assert.ok(file.scenarios.length >= 20));

for (const [place, scenario] of file.scenarios.entries()) {
  test(scenario.name, async () => {
    proxy.reset();
    const run = new Run(scenario, 4_001 + place);
    await run.open();
    await server.recharge(4_001 + place, scenario.coins);
    try {
      for (const step of scenario.steps) await run.step(step);
    } finally {
      await run.close();
    }
  });
}
