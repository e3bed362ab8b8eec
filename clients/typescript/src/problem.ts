// Errors as the server tells them.

import type { components } from './openapi.js';

/** The body of an error; `docs/errors.md` says what to do about each `code`. */
export type Problem = components['schemas']['Problem'];
export type Code = Problem['code'];

/** Whether the server vouches that the attempt that got this answer moved no money. */
export function vouchesForNoEffect(problem: Problem): boolean {
  switch (problem.code) {
    case 'outcome_unknown':
    case 'internal':
    case 'service_internal':
      return false;
    default:
      // A later server may know codes that this does not. Its refusals keep the promise, its own failures may not.
      return problem.status < 500 || KNOWN_ON_THE_SERVERS_SIDE.has(problem.code);
  }
}

const KNOWN_ON_THE_SERVERS_SIDE: ReadonlySet<string> = new Set<Code>([
  'overloaded',
  'shard_unavailable',
  'store_unavailable',
]);

/** Reads a body, if it is a problem at all. */
export function asProblem(body: unknown): Problem | undefined {
  const fields = body as Partial<Problem> | null;
  const fits =
    typeof fields === 'object' &&
    fields !== null &&
    typeof fields.code === 'string' &&
    typeof fields.status === 'number' &&
    typeof fields.retryable === 'boolean';
  return fits ? (fields as Problem) : undefined;
}
