// An outbox in a file, for Node.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

import { type Entry, type Outbox, OutboxError, checkRoom, inOrder } from './outbox.js';

type Line = { put: Entry } | { remove: string };

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
 * time share a sync. A lock file with the process's id keeps a second process of this machine out.
 */
export class FileOutbox implements Outbox {
  readonly #entries = new Map<string, Entry>();
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #lines = 0;
  #failed: unknown;

  private constructor(
    private readonly path: string,
    private file: FileHandle,
  ) {}

  static async open(path: string): Promise<FileOutbox> {
    lock(path);
    let file: FileHandle | undefined;
    try {
      file = await open(path, 'a+');
      const outbox = new FileOutbox(path, file);
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
    // A line without its end was being written in a crash; nothing was sent for it.
    const whole = bytes.lastIndexOf(0x0a) + 1;
    const lines = bytes.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
    for (const [place, text] of lines.entries()) {
      let line: Line;
      try {
        line = JSON.parse(text) as Line;
      } catch (error) {
        throw new OutboxError(`the outbox is damaged in line ${place + 1}: ${String(error)}`);
      }
      if ('put' in line) this.#entries.set(line.put.id, line.put);
      else this.#entries.delete(line.remove);
    }
    this.#lines = lines.length;
    await this.file.truncate(whole);
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
        await this.file.appendFile(batch.map(({ line }) => JSON.stringify(line) + '\n').join(''));
        this.#lines += batch.length;
        if (batch.some(({ line }) => 'put' in line)) await this.file.datasync();
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
    await fresh.appendFile(entries.map((entry) => JSON.stringify({ put: entry }) + '\n').join(''));
    await fresh.sync();
    await rename(`${this.path}.new`, this.path);
    await syncFolder(this.path);
    await this.file.close();
    this.file = fresh;
    this.#lines = entries.length;
  }
}

/** A new name of a file is only safe when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r');
  await folder.sync();
  await folder.close();
}

function lock(path: string): void {
  if (inUse.has(path)) throw new OutboxError('the outbox is in use by this process');
  try {
    writeFileSync(`${path}.lock`, String(process.pid), { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const pid = Number(readFileSync(`${path}.lock`, 'utf8'));
    // A process that was killed leaves its lock behind, and its number may be ours by now.
    if (pid > 0 && pid !== process.pid && isAlive(pid)) {
      throw new OutboxError(`the outbox is in use by process ${pid}`);
    }
    writeFileSync(`${path}.lock`, String(process.pid));
  }
  inUse.add(path);
}

function unlock(path: string): void {
  inUse.delete(path);
  rmSync(`${path}.lock`, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
