// Errors as the server tells them.
/** Whether the server vouches that the attempt that got this answer moved no money. */
export function vouchesForNoEffect(problem) {
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
const KNOWN_ON_THE_SERVERS_SIDE = new Set([
    'overloaded',
    'shard_unavailable',
    'store_unavailable',
]);
/** Reads a body, if it is a problem at all. */
export function asProblem(body) {
    const fields = body;
    const fits = typeof fields === 'object' &&
        fields !== null &&
        typeof fields.code === 'string' &&
        typeof fields.status === 'number' &&
        typeof fields.retryable === 'boolean';
    return fits ? fields : undefined;
}
