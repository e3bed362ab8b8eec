// The real server, as a process of its own.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The repository's folder. */
export const root = fileURLToPath(new URL('../../../../', import.meta.url));
const binary = process.env['LARGESSE_BIN'] ?? join(root, 'target/debug/largesse');
/** It knows nothing of the variables of whoever runs the tests. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LARGESSE')));

export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), 'largesse-client-'));
  #process: ChildProcess | undefined;
  url = '';
  #serviceKey = '';

  private constructor(private readonly settings: Record<string, string>) {}

  /** `settings` of the configuration, as variables. */
  static async start(settings: Record<string, string> = {}): Promise<Server> {
    const server = new Server(settings);
    await server.begin();
    return server;
  }

  /** Starts a process on the folder, at another port than the one before unless that is asked for again. */
  async begin(address = '127.0.0.1:0'): Promise<void> {
    const listen = ['--listen', address, '--admin-listen', '127.0.0.1:0'];
    const started = spawn(binary, ['dev', '-o', 'json', '--data', this.#data, ...listen], {
      env: { ...env, ...this.settings },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#process = started;
    const line = await new Promise<string>((resolve, reject) => {
      createInterface(started.stdout!).once('line', resolve);
      started.once('error', reject);
      started.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    });
    const ready = JSON.parse(line) as { listen: string; service_key: string };
    this.url = `http://${ready.listen}`;
    this.#serviceKey = ready.service_key;
  }

  /** Ends it by SIGKILL. */
  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.#process!.once('exit', resolve));
    this.#process!.kill('SIGKILL');
    await ended;
  }

  /** Kills it, and starts it again where it was. */
  async restart(): Promise<void> {
    await this.kill();
    await this.begin(new URL(this.url).host);
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }

  get serviceKey(): string {
    return this.#serviceKey;
  }

  /** `more` options of `largesse token gen`. */
  token(user: number, ...more: string[]): string {
    const text = execFileSync(binary, ['token', 'gen', '--user', String(user), '--data', this.#data, ...more], { env });
    return text.toString().trim();
  }

  async recharge(user: number, amount: number): Promise<void> {
    if (amount === 0) return;
    const transaction_id = crypto.randomUUID();
    await this.#ask('/v1/recharges', { user_id: user, asset: 'coin', amount, channel: 'manual', transaction_id });
  }

  /** How many gifts a user has sent, each with its count, oldest first. */
  async sent(user: number): Promise<{ event_id: string; gift_id: number; count: number; peers: string[] }[]> {
    const page = (await this.#ask(`/v1/users/${user}/history?side=sent&kind=gift&limit=1000`)) as {
      items: { event_id: string; gift_id: number; count: number; peers: string[] }[];
    };
    return page.items.reverse();
  }

  async coins(user: number): Promise<number> {
    const { balances } = (await this.#ask(`/v1/users/${user}/balances`)) as {
      balances: { asset: string; amount: number }[];
    };
    return balances.find(({ asset }) => asset === 'coin')?.amount ?? 0;
  }

  /** Opens a room, or changes how it is set. */
  async set(room: number, settings: object): Promise<void> {
    await this.#ask(`/v1/rooms/${room}`, settings, 'PUT');
  }

  get #data(): string {
    return join(this.folder, 'data');
  }

  /** What a room's feed says was given, entry by entry. */
  async given(room: number): Promise<{ value: number; entries: number }> {
    let [value, after] = [0, 0];
    for (;;) {
      const page = (await this.#ask(`/v1/rooms/${room}/feed?after=${after}&limit=1000`)) as {
        items: { room_seq: number; delta?: { value: number } }[];
        room_seq: number;
      };
      for (const item of page.items) value += item.delta?.value ?? 0;
      after = page.items[page.items.length - 1]?.room_seq ?? after;
      if (after >= page.room_seq) return { value, entries: after };
    }
  }

  async #ask(path: string, body?: unknown, method = 'POST'): Promise<unknown> {
    const headers = { Authorization: `Bearer ${this.#serviceKey}`, 'Content-Type': 'application/json' };
    const post = body === undefined ? {} : { method, body: JSON.stringify(body) };
    const answer = await fetch(this.url + path, { headers, ...post });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}
