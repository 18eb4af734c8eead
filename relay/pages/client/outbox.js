// The envelopes that the relay has not acknowledged yet. No input or output.
//
// Each envelope has a key. The relay delivers one key once, however often the envelope is sent, and over any connection.
// Several envelopes are on their way at a time. These rules keep them in order:
//
// 1. Envelopes are sent in the order of the calls. Each one names the one before it (`after`) if that one still waits. The
//    relay refuses it with `out_of_order` if the one before is missing.
// 2. If an envelope fails for a reason that passes, it and all later ones are sent again, in order. After a reconnection,
//    all are sent again. The relay recognises the keys of those that had arrived, and acknowledges them again.
// 3. An envelope that was refused for good, or given up, is no longer named. The one that named it is refused once, and
//    sent again by rule 2 without the name.

import { SEND_AGAIN, RelayError } from './errors.js';
import { randomText } from './ids.js';

const RESERVED = ['from', 'id', 'room', 'type'];
const MAX_KEY = 64;
const MAX_NESTING = 256;

/** A bounded queue; the first `window` envelopes may be on their way. */
export class Outbox {
  #items = new Map();
  #prefix = randomText(9);
  #number = 0;

  constructor({ size = 1000, window = 32 } = {}) {
    this.size = size;
    this.window = window;
    this.resent = 0;
  }

  /** How many envelopes wait for their acknowledgement. */
  get length() {
    return this.#items.size;
  }

  has(key) {
    return this.#items.has(key);
  }

  /** A promise for each waiting envelope. */
  get waiting() {
    return [...this.#items.values()].map((item) => item.done);
  }

  /** Add an envelope; `done` of the returned item resolves with its id and key, or rejects with the error. */
  add(envelope) {
    if (this.#items.size >= this.size) throw new RelayError('queue_full', `${this.size} envelopes wait for the relay`);
    const key = this.#keyOf(envelope);
    const text = JSON.stringify(envelope);
    // The relay's error about such a frame could not name the envelope's key, so that its sender would wait.
    if (nestsDeeper(text, MAX_NESTING)) throw new RelayError('bad_json', `nested more than ${MAX_NESTING} levels deep`);
    const item = { key, envelope: text, sent: false, tried: false };
    item.done = new Promise((resolve, reject) => Object.assign(item, { resolve, reject }));
    this.#items.set(key, item);
    return item;
  }

  /** Reject an envelope, and do not send it again. */
  giveUp(item) {
    this.#items.delete(item.key);
    const text = item.tried ? 'it may have been sent' : 'it was not sent';
    item.reject(new RelayError('not_acknowledged', text, item.tried));
  }

  /** Reject all envelopes. */
  fail(error) {
    const items = [...this.#items.values()];
    this.#items.clear();
    for (const item of items) item.reject(error);
  }

  /** The frames to send now; each counts as sent. `room` is "" for the connection's own room. */
  *frames(room) {
    for (let frame = this.#next(room); frame; frame = this.#next(room)) yield frame;
  }

  /** Send the envelope with this key again, and all later ones; without a key, all. */
  rewind(key) {
    let found = key === undefined;
    for (const item of this.#items.values()) {
      found ||= item.key === key;
      if (found) item.sent = false;
    }
  }

  /** The relay acknowledged an envelope. */
  acknowledged(key, id) {
    const item = this.#items.get(key);
    this.#items.delete(key);
    item?.resolve({ id, key });
  }

  /**
   * The relay refused an envelope. Return whether to pause before sending more.
   *
   * Envelopes that were on their way together fail together: only the first of them causes a pause. `out_of_order` of the
   * first in the queue (rule 3) causes none, because nothing is before it any more.
   */
  refused(key, code, text) {
    const item = this.#items.get(key);
    if (!item) return false;
    if (SEND_AGAIN.has(code)) {
      const firstFailure = item.sent;
      this.rewind(key);
      return firstFailure && !(code === 'out_of_order' && item === this.#items.values().next().value);
    }
    this.#items.delete(key);
    item.reject(new RelayError(code, text));
    return false;
  }

  #next(room) {
    let before = '';
    let count = 0;
    for (const item of this.#items.values()) {
      if (++count > this.window) return undefined;
      if (!item.sent) {
        this.resent += item.tried;
        item.sent = item.tried = true;
        return frameOf(item, before, room);
      }
      before = item.key;
    }
    return undefined;
  }

  /** The envelope's own key, if the user chose one; else a new one. */
  #keyOf(envelope) {
    const reserved = RESERVED.find((name) => name in envelope);
    if (reserved) throw new RelayError('reserved_field', `an envelope may not carry ${reserved}`);
    const { key } = envelope;
    if (!key) return `${this.#prefix}-${this.#number++}`;
    if (typeof key !== 'string' || key.length > MAX_KEY) {
      throw new RelayError('bad_envelope', `a key is text of at most ${MAX_KEY} characters`);
    }
    if (this.has(key)) throw new RelayError('bad_envelope', 'an envelope with this key waits for the relay already');
    return key;
  }
}

function frameOf({ key, envelope }, after, room) {
  const marks = JSON.stringify({ type: 'publish', key, ...(after && { after }), ...(room && { room }) });
  return `${marks.slice(0, -1)},"envelope":${envelope}}`;
}

/** Whether JSON text has more levels of arrays and objects than `limit`. */
export function nestsDeeper(text, limit) {
  // Hardly any text has so many brackets at all.
  if ((text.match(/[[{]/g)?.length ?? 0) <= limit) return false;
  let depth = 0;
  let inString = false;
  // Single tokens and not whole strings: a pattern that matches megabytes at once exceeds the stack of the engine.
  for (const [token] of text.matchAll(/\\.|["[\]{}]/g)) {
    if (token === '"') inString = !inString;
    else if (inString) continue;
    else if (token === '[' || token === '{') depth += 1;
    else depth -= 1;
    if (depth > limit) return true;
  }
  return false;
}
