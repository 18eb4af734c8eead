// What this client has to say, until the relay has acknowledged it. No input or output.
//
// Every envelope has a key, under which it may be sent again, over the same connection or another, and is delivered once.
// Several are on their way at a time. The rule by which none overtakes another:
//
// 1. What is not acknowledged is sent in the order of the calls, and each names the one before it (`after`) as long as
//    that one waits too: the relay refuses it (`out_of_order`) should that one be missing.
// 2. When one fails that may be tried again, it and all that follow are sent again, in order. So are all of them over a
//    new connection. Those that did arrive are known by their keys, and acknowledged again.
// 3. What was refused for good, or given up, is named no more; what named it is refused, and by 2 sent again without.

import { AGAIN, RelayError } from './errors.js';
import { randomText } from './ids.js';

const RESERVED = ['from', 'id', 'room', 'type'];
const MAX_KEY = 64;

/** A bounded queue, of which the first `window` may be on their way. */
export class Outbox {
  #items = new Map();
  #prefix = randomText(9);
  #number = 0;

  constructor({ size = 1000, window = 32 } = {}) {
    this.size = size;
    this.window = window;
    this.resent = 0;
  }

  /** How many are not acknowledged. */
  get length() {
    return this.#items.size;
  }

  has(key) {
    return this.#items.has(key);
  }

  /** What comes of each of them. */
  get waiting() {
    return [...this.#items.values()].map((item) => item.done);
  }

  /** Take an envelope; `done` of what is returned is kept with its id, or the error. */
  add(envelope) {
    if (this.#items.size >= this.size) throw new RelayError('queue_full', `${this.size} envelopes wait for the relay`);
    const key = this.#keyOf(envelope);
    const item = { key, envelope: JSON.stringify(envelope), sent: false, tried: false };
    item.done = new Promise((resolve, reject) => Object.assign(item, { resolve, reject }));
    this.#items.set(key, item);
    return item;
  }

  /** Nobody waits for this one any more: it is not sent again. */
  giveUp(item) {
    this.#items.delete(item.key);
    const text = item.tried ? 'it may have been sent' : 'it was not sent';
    item.reject(new RelayError('not_acknowledged', text, item.tried));
  }

  /** None of them will be sent. */
  fail(error) {
    const items = [...this.#items.values()];
    this.#items.clear();
    for (const item of items) item.reject(error);
  }

  /** The frames to send now; each counts as sent. `room` is "" for the connection's own. */
  *frames(room) {
    for (let frame = this.#next(room); frame; frame = this.#next(room)) yield frame;
  }

  /** The one with this key, and all after it, are to be sent again; without a key, all. */
  rewind(key) {
    let found = key === undefined;
    for (const item of this.#items.values()) {
      found ||= item.key === key;
      if (found) item.sent = false;
    }
  }

  /** The relay has it. */
  acknowledged(key, id) {
    const item = this.#items.get(key);
    this.#items.delete(key);
    item?.resolve({ id, key });
  }

  /**
   * The relay did not take it; whether to wait a while before anything more is sent.
   *
   * Once is enough for all that were on their way together; and what named one that is gone need not wait at all.
   */
  refused(key, code, text) {
    const item = this.#items.get(key);
    if (!item) return false;
    if (AGAIN.has(code)) {
      const news = item.sent;
      this.rewind(key);
      return news && !(code === 'out_of_order' && item === this.#items.values().next().value);
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

  /** The envelope's own key, for those who know what they sent in an earlier life; else one of this client's. */
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
