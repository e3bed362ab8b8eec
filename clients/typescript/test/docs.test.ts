// The example for Node in `docs/clients.md`, run as it stands.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Server, root } from './server.js';

test('the example for Node does what it says', async () => {
  const server = await Server.start();
  const page = readFileSync(join(root, 'docs/clients.md'), 'utf8');
  const example = page.split('```js\n')[1]?.split('```')[0];
  assert.ok(example !== undefined);
  // A folder that has the package, as `npm install` would put it there.
  const folder = join(server.folder, 'example');
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  symlinkSync(join(root, 'clients/typescript'), join(folder, 'node_modules/largesse-client'));
  writeFileSync(join(folder, 'example.mjs'), example);
  const env = { ...process.env, LARGESSE_URL: server.url, LARGESSE_TOKEN_3001: server.token(3001) };
  const told = execFileSync(process.execPath, ['example.mjs'], { cwd: folder, env }).toString();
  assert.equal(told, 'paid 100, 99900 are left\n');
  await server.end();
});
