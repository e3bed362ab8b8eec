// A client of Largesse that moves money once, whatever happens on the way.
//
// It makes the idempotency key and keeps it, with the whole request, in an outbox before anything is sent. It tries again
// with the same key, and asks what became of a key whose answer was lost. Nothing is ever reported as failed that may have
// been applied: there is a receipt, or a proven refusal, or it is still open and `resume` goes on with it.
export { BrowserOutbox } from './browser.js';
export { Client, ReadError, } from './client.js';
export { Combos } from './combo.js';
export { Live } from './live.js';
export { MemoryOutbox, OutboxError } from './outbox.js';
