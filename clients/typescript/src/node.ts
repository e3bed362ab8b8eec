// An outbox in a file, for Node.

import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';

import { type Entry, type Outbox, OutboxError, checkRoom, inOrder } from './outbox.js';

/** The account is the first line, but in files from before there was one. */
type Line = { put: Entry } | { remove: string } | { account: string };

interface Waiting {
  line: Line;
  done: () => void;
  failed: (error: unknown) => void;
}

/** Lines that are no longer needed, before the file is written anew; and then at least as many as are needed. */
const DEAD_LINES_MIN = 4_096;
const inUse = new Set<string>();

/**
 * A line of JSON for each entry kept or removed, synced before a request may be sent. Entries that come in at the same
 * time share a sync. A lock file that names its process keeps a second one out.
 */
export class FileOutbox implements Outbox {
  readonly #entries = new Map<string, Entry>();
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #lines = 0;
  #failed: unknown;

  private constructor(
    private readonly path: string,
    private readonly account: string,
    private file: FileHandle,
  ) {}

  /**
   * `account`: who asks and where, in words of your own, such as the user's id and the server's address. A file of another
   * account is not opened: its gifts would be paid by somebody else.
   */
  static async open(path: string, account: string): Promise<FileOutbox> {
    path = resolve(path);
    lock(path);
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'a+');
      const outbox = new FileOutbox(path, account, file);
      await outbox.#read();
      return outbox;
    } catch (error) {
      await file?.close();
      unlock(path);
      throw error;
    }
  }

  async put(entry: Entry): Promise<void> {
    if (!this.#entries.has(entry.id)) checkRoom(this.#entries.size);
    const kept = structuredClone(entry);
    this.#entries.set(entry.id, kept);
    await this.#write({ put: kept });
  }

  async remove(id: string): Promise<void> {
    this.#entries.delete(id);
    await this.#write({ remove: id });
  }

  async entries(): Promise<Entry[]> {
    return inOrder(structuredClone([...this.#entries.values()]));
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.file.close();
    unlock(this.path);
  }

  async #read(): Promise<void> {
    const bytes = await this.file.readFile();
    let account: string | undefined;
    let [whole, damage] = [0, undefined as OutboxError | undefined];
    for (let begin = 0, end = 0; (end = bytes.indexOf(0x0a, begin)) >= 0; begin = end + 1) {
      const line = lineIn(bytes.subarray(begin, end).toString('utf8'));
      if (line === undefined) {
        // A crash may leave a hole in what was not synced, and the end of a line behind it.
        damage ??= new OutboxError(`the outbox is damaged in line ${this.#lines + 1}`);
        continue;
      }
      // What stands before a whole line was written earlier.
      if (damage !== undefined) throw damage;
      if ('put' in line) this.#entries.set(line.put.id, line.put);
      else if ('account' in line) account = line.account;
      else this.#entries.delete(line.remove);
      this.#lines += 1;
      whole = end + 1;
    }
    if (account !== undefined && account !== this.account) {
      throw new OutboxError(`the outbox is of account \`${account}\`, whose gifts another one would pay again`);
    }
    // A line without its end, or with a hole in it, was being written in a crash; nothing was sent for it.
    await this.file.truncate(whole);
    if (account === undefined) await this.file.appendFile(lineOf({ account: this.account }));
    await this.file.sync();
    await syncFolder(this.path);
  }

  #write(line: Line): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting.push({ line, done, failed });
      this.#writing ??= this.#writeAll();
    });
  }

  /** Writes what waits, and what has come meanwhile, until nothing waits. */
  async #writeAll(): Promise<void> {
    // Those who call at the same moment share the first sync.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        // After a failed write or sync nobody can say what the disk has.
        if (this.#failed !== undefined) throw this.#failed;
        await this.file.appendFile(batch.map(({ line }) => lineOf(line)).join(''));
        this.#lines += batch.length;
        await this.file.datasync();
        if (this.#lines > DEAD_LINES_MIN + 2 * this.#entries.size) await this.#writeAnew();
        for (const { done } of batch) done();
      } catch (error) {
        this.#failed ??= new OutboxError(`the outbox cannot be written: ${String(error)}`, true);
        for (const { failed } of batch) failed(this.#failed);
      }
    }
    this.#writing = undefined;
  }

  /** Leaves out what is settled. The new file takes the old one's place when it is complete. */
  async #writeAnew(): Promise<void> {
    const fresh = await open(`${this.path}.new`, 'w');
    const entries = inOrder(this.#entries.values());
    await fresh.appendFile(lineOf({ account: this.account }) + entries.map((put) => lineOf({ put })).join(''));
    await fresh.sync();
    await rename(`${this.path}.new`, this.path);
    await syncFolder(this.path);
    await this.file.close();
    this.file = fresh;
    this.#lines = entries.length;
  }
}

function lineIn(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Line | null;
    return typeof line === 'object' && line !== null ? line : undefined;
  } catch {
    return undefined;
  }
}

function lineOf(line: Line): string {
  return JSON.stringify(line) + '\n';
}

/** A new name of a file is only safe when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r');
  await folder.sync();
  await folder.close();
}

/** Who has a lock: which process of which machine, and when it began where the system tells that. */
interface Holder {
  pid: number;
  host: string;
  started?: string;
}

/**
 * Takes the lock of a file. A lock file has its content from its first moment on: it is written beside, and linked. What a
 * process of this machine has left behind when it was killed is moved away, and put back if it was another one by then.
 */
function lock(path: string): void {
  if (inUse.has(path)) throw new OutboxError('the outbox is in use by this process');
  const name = `${path}.lock`;
  const mine = `${name}.${process.pid}-${randomUUID()}`;
  const gone = `${mine}-gone`;
  writeFileSync(mine, JSON.stringify(holder(process.pid)));
  try {
    if (!isLinked(mine, name)) {
      const text = textOf(name);
      const other = text === undefined ? undefined : holderOf(text);
      if (other !== undefined) throw new OutboxError(`the outbox is in use by ${other}`);
      if (text !== undefined && isMoved(name, gone) && textOf(gone) !== text) {
        // Somebody else was quicker to see that its holder was gone.
        isLinked(gone, name);
        throw new OutboxError('the outbox is being opened by another process');
      }
      if (!isLinked(mine, name)) throw new OutboxError('the outbox is being opened by another process');
    }
  } finally {
    rmSync(mine, { force: true });
    rmSync(gone, { force: true });
  }
  inUse.add(path);
}

function unlock(path: string): void {
  inUse.delete(path);
  rmSync(`${path}.lock`, { force: true });
}

/** Whether the file has got another name, which nothing had. */
function isLinked(file: string, name: string): boolean {
  return succeeds(() => linkSync(file, name), 'EEXIST');
}

function isMoved(from: string, to: string): boolean {
  return succeeds(() => renameSync(from, to), 'ENOENT');
}

function succeeds(act: () => void, unless: string): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === unless) return false;
    throw error;
  }
}

function textOf(file: string): string | undefined {
  let text: string | undefined;
  succeeds(() => (text = readFileSync(file, 'utf8')), 'ENOENT');
  return text;
}

function holder(pid: number): Holder {
  const started = startOf(pid);
  return started === undefined ? { pid, host: hostname() } : { pid, host: hostname(), started };
}

/** Whom a lock still belongs to, in words, if it does. */
function holderOf(text: string): string | undefined {
  const { pid, host, started } = read(text);
  if (host !== undefined && host !== hostname()) {
    // Nobody here can tell whether that one lives.
    return `process ${pid} of ${host}; if that is gone for good, remove the lock file`;
  }
  const isSame = started === undefined || started === startOf(pid);
  if (pid === process.pid) return isSame && started !== undefined ? 'another thread of this process' : undefined;
  return pid > 0 && isAlive(pid) && isSame ? `process ${pid}` : undefined;
}

/** Locks of earlier versions have a number only. */
function read(text: string): Partial<Holder> & { pid: number } {
  try {
    const found = JSON.parse(text) as Holder | number;
    return typeof found === 'number' ? { pid: found } : found;
  } catch {
    return { pid: 0 };
  }
}

/** Tells a process from a later one with the same number. Only Linux has it in a file. */
function startOf(pid: number): string | undefined {
  try {
    // After the name, which may have spaces and brackets in it, it is the twentieth field.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
