// A proxy on real sockets that does what `clients/scenarios.json` says to the requests that pass.

import { type Socket, connect, createServer } from 'node:net';
import { once } from 'node:events';

export type Fault =
  | 'pass'
  | 'drop_request'
  | 'drop_answer'
  | 'half_answer'
  | 'late_answer'
  | 'hold'
  | 'overloaded'
  | 'rate_limited'
  | 'bad_gateway'
  | 'bad_gateway_after'
  | 'internal_after'
  | 'unknown'
  | 'unknown_after'
  | 'time_ahead'
  | 'kill'
  | 'kill_after';

/** How long an `outcome_unknown` of the proxy leaves it open. */
const UNKNOWN_MS = 700;

export class Proxy {
  url = '';
  target: string | undefined;
  sends = 0;
  looks = 0;
  readonly keys = new Set<string>();
  /** Bodies of gifts in the order in which they came. */
  readonly bodies: { event_id: string; count: number }[] = [];
  #faults: { sends: Fault[]; looks: Fault[] } = { sends: [], looks: [] };
  #held: Buffer[] = [];
  #watchers: (() => void)[] = [];
  readonly #server = createServer((client) => {
    // A client that is gone is what this is about.
    client.on('error', () => undefined);
    void this.#serve(client).catch(() => client.destroy());
  });

  private constructor(private readonly restart: () => Promise<void>) {}

  /** `restart` kills the server and starts another. */
  static async start(restart: () => Promise<void>): Promise<Proxy> {
    const proxy = new Proxy(restart);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    const address = proxy.#server.address();
    if (typeof address !== 'object' || address === null) throw new Error('it listens nowhere');
    proxy.url = `http://127.0.0.1:${address.port}`;
    return proxy;
  }

  end(): void {
    this.#server.close();
  }

  faults(sends: Fault[] = [], looks: Fault[] = []): void {
    this.#faults = { sends: [...sends], looks: [...looks] };
  }

  /** Begins to count anew. */
  reset(): void {
    this.faults();
    this.#held = [];
    this.sends = this.looks = this.bodies.length = 0;
    this.keys.clear();
  }

  /** Waits until so many gifts have been dealt with. */
  async untilSends(count: number): Promise<void> {
    while (this.sends < count) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }

  /** Lets go what is held: each arrives at the server, and is answered there. */
  async release(): Promise<void> {
    for (const request of this.#held.splice(0)) await this.#forward(request);
  }

  async #serve(client: Socket): Promise<void> {
    const request = await readRequest(client);
    if (request === undefined) return;
    const { head, passedOn, body } = request;
    const isSend = /^POST \/v1\/rooms\/\d+\/gifts HTTP/.test(head);
    const isLook = head.startsWith('GET /v1/gifts/');
    const queue = isSend ? this.#faults.sends : isLook ? this.#faults.looks : [];
    const fault = queue.shift() ?? 'pass';
    const key = isSend ? String((JSON.parse(body) as { event_id: string }).event_id) : '';
    const answer = await this.#answer(fault, passedOn, key);
    if (isSend) {
      this.sends += 1;
      this.keys.add(key);
      this.bodies.push(JSON.parse(body) as { event_id: string; count: number });
    }
    this.looks += isLook ? 1 : 0;
    for (const watcher of this.#watchers.splice(0)) watcher();
    if (answer === undefined) return void client.destroy();
    if (fault === 'half_answer') return void client.end(answer.subarray(0, -20));
    if (fault === 'late_answer') await once(client, 'close');
    else client.end(answer);
  }

  /** What the client is to get, if anything. */
  async #answer(fault: Fault, request: Buffer, key: string): Promise<Buffer | undefined> {
    const isAfter = ['drop_answer', 'bad_gateway_after', 'internal_after', 'unknown_after', 'kill_after'].includes(fault);
    if (isAfter) await this.#forward(request);
    switch (fault) {
      case 'pass':
      case 'half_answer':
      case 'late_answer':
        return this.#forward(request);
      case 'hold':
        this.#held.push(request);
        return undefined;
      case 'drop_request':
      case 'drop_answer':
        return undefined;
      case 'kill':
      case 'kill_after':
        await this.restart();
        return undefined;
      case 'overloaded':
        return problem(503, 'overloaded', 'retry-after: 1\r\n');
      case 'rate_limited':
        return problem(429, 'rate_limited', 'retry-after: 1\r\n');
      case 'bad_gateway':
      case 'bad_gateway_after':
        return written(502, 'text/html', '', '<h1>502 Bad Gateway</h1>');
      case 'internal_after':
        return problem(500, 'internal');
      case 'time_ahead':
        return problem(422, 'id_time_ahead', '', { retryable: false, server_time: new Date().toISOString() });
      case 'unknown':
      case 'unknown_after': {
        const finalAfter = Date.now() + UNKNOWN_MS;
        const poll = `/v1/gifts/${encodeURIComponent(key)}?final_after=${finalAfter}`;
        return problem(504, 'outcome_unknown', '', { poll, final_after: new Date(finalAfter).toISOString() });
      }
    }
  }

  /** What the server answers, whole. */
  async #forward(request: Buffer): Promise<Buffer> {
    if (this.target === undefined) throw new Error('there is no server');
    const { hostname, port } = new URL(this.target);
    const server = connect(Number(port), hostname);
    server.write(request);
    const pieces: Buffer[] = [];
    for await (const piece of server) pieces.push(piece as Buffer);
    if (pieces.length === 0) throw new Error('the server said nothing');
    return Buffer.concat(pieces);
  }
}

/** The head, and the whole request as it is passed on: one request per connection. */
async function readRequest(client: Socket) {
  let bytes = Buffer.alloc(0);
  let end = -1;
  let length = 0;
  while (end < 0 || bytes.length < end + 4 + length) {
    const piece = await next(client);
    if (piece === undefined) return undefined;
    bytes = Buffer.concat([bytes, piece]);
    if (end < 0) {
      end = bytes.indexOf('\r\n\r\n');
      const head = end < 0 ? '' : bytes.subarray(0, end).toString();
      length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
    }
  }
  const head = bytes.subarray(0, end).toString();
  const kept = head.split('\r\n').filter((line) => !/^connection:/i.test(line));
  const body = bytes.subarray(end + 4);
  const passedOn = Buffer.concat([Buffer.from([...kept, 'connection: close', '', ''].join('\r\n')), body]);
  return { head, passedOn, body: body.toString() };
}

function next(client: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const done = (piece?: Buffer) => {
      client.off('data', done).off('close', gone).off('end', gone).pause();
      resolve(piece);
    };
    const gone = () => done();
    client.on('data', done).on('close', gone).on('end', gone).resume();
  });
}

function problem(status: number, code: string, headers = '', more: object = {}): Buffer {
  const common = { type: `/docs/errors#${code}`, title: code, status, detail: 'from the proxy', code, err_code: 20_000 };
  const body = { ...common, retryable: true, trace_id: '0'.repeat(32), ...more };
  return written(status, 'application/problem+json', headers, JSON.stringify(body));
}

function written(status: number, kind: string, headers: string, body: string): Buffer {
  const length = Buffer.byteLength(body);
  const head = `HTTP/1.1 ${status} -\r\ncontent-type: ${kind}\r\n${headers}content-length: ${length}`;
  return Buffer.from(`${head}\r\nconnection: close\r\n\r\n${body}`);
}
