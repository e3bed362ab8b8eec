// Idempotency keys.

/** A fresh UUIDv7. Its time is the server's, as far as it is known: one that is ahead would be refused. */
export function mint(serverNow: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let time = serverNow;
  for (let place = 5; place >= 0; place--) {
    bytes[place] = time % 256;
    time = Math.floor(time / 256);
  }
  return uuid(bytes, 7);
}

/** Under which id a payment is found: it has no key of its own but its channel and number there. */
export async function ofPayment(channel: string, transaction: string): Promise<string> {
  const text = new TextEncoder();
  const parts = ['recharge', channel, transaction].flatMap((part) => {
    const bytes = text.encode(part);
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(bytes.length), true);
    return [...length, ...bytes];
  });
  const hash = await crypto.subtle.digest('SHA-256', new Uint8Array(parts));
  return uuid(new Uint8Array(hash).slice(0, 16), 4);
}

/** Whether the server would take a key: up to 128 printable ASCII characters. */
export function isUsable(key: string): boolean {
  return /^[!-~]([ -~]{0,126}[!-~])?$/.test(key);
}

function uuid(bytes: Uint8Array, version: number): string {
  bytes[6] = (bytes[6]! & 0x0f) | (version << 4);
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
