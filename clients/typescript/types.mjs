// Writes `src/openapi.ts` from the description of a running server: `npm run types -- http://127.0.0.1:8080`.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import openapiTS, { astToString } from 'openapi-typescript';

const place = fileURLToPath(new URL('src/openapi.ts', import.meta.url));

/** The types of a description. */
export async function typesOf(description) {
  const types = astToString(await openapiTS(description, { alphabetize: true, exportType: false }));
  return `// Made from the server's description of itself by \`npm run types\`. Do not edit.\n\n${types}`;
}

/** What is committed. */
export function committed() {
  return readFileSync(place, 'utf8');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const url = process.argv[2] ?? 'http://127.0.0.1:8080';
  const answer = await fetch(`${url}/openapi.json`);
  writeFileSync(place, await typesOf(await answer.json()));
}
