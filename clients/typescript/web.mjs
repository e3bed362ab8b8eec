// Puts the built modules where the server takes them from, so that it builds without Node: `npm run build` does it.

import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const built = fileURLToPath(new URL('dist/src/', import.meta.url));
export const served = fileURLToPath(new URL('../../web/client/', import.meta.url));

/** What browsers need. */
export function modules() {
  return readdirSync(built)
    .filter((name) => name.endsWith('.js') && name !== 'node.js' && name !== 'openapi.js')
    .sort();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(served, { recursive: true, force: true });
  mkdirSync(served, { recursive: true });
  for (const name of modules()) cpSync(built + name, served + name);
}
