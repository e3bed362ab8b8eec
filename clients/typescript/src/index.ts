// A client of Largesse that moves money once, whatever happens on the way.
//
// It makes the idempotency key and keeps it, with the whole request, in an outbox before anything is sent. It tries again
// with the same key, and asks what became of a key whose answer was lost. Nothing is ever reported as failed that may have
// been applied: there is a receipt, or a proven refusal, or it is still open and `resume` goes on with it.

export { BrowserOutbox } from './browser.js';
export {
  Client,
  type Gift,
  type HistoryQuery,
  type Options,
  ReadError,
  type Recharge,
  type Settled,
  type Transfer,
} from './client.js';
export { type ComboOptions, Combos, type Tap } from './combo.js';
export type { Outcome } from './drive.js';
export type { Bearer, GiftReceipt, Receipt, RechargeReceipt, TransferReceipt } from './exchange.js';
export { type FeedItem, Live, type LiveOptions, type LiveStatus, type Rest, type RoomTotal, type Sum } from './live.js';
export { type Entry, type Intent, MemoryOutbox, type Outbox, OutboxError } from './outbox.js';
export type { Code, Problem } from './problem.js';
