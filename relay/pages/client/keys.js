// Resume keys that outlive a page: they are in its sessionStorage, so that a reloaded or crashed page gets its peer id back.
//
// A duplicated tab gets a copy of the storage, and must not take over the memberships of a page that still runs:
//
// 1. A page takes its keys out of the storage when it begins. When it is hidden for good (`pagehide`), it writes them back.
// 2. A crash fires no event. So a page that has a Web Lock also writes its keys while it runs, with the name of its lock.
//    Another page uses such a key only if the lock is free, which it is when the first page has ended.

import { randomText } from './ids.js';

const PREFIX = 'relay.js ';
// No relay holds a membership for longer; older keys only take space.
const MAX_AGE = 3_600_000;
const KEY = /^[\w.~-]{1,64}$/;

/** The keys of one page. `locks` is the browser's lock manager, which only pages of secure origins have. */
export class StoredKeys {
  #entries = new Map(); // name in the storage → function that returns the present key
  #lock = ''; // the name of the lock that this page holds
  #turn = 0; // a lock that is granted after its turn is released at once
  #release = () => {};
  #hidden = () => this.#hide();
  #shown = ({ persisted }) => persisted && this.#acquire();

  constructor(storage = defaultStorage(), locks = globalThis.navigator?.locks) {
    this.storage = storage;
    this.locks = locks;
    this.#removeOld();
  }

  /**
   * Take the key of a slot out of the storage, and store the present key of this page from now on; `current` returns it.
   * Returns the key, '' without one, or a promise if only the lock's owner may use the key.
   */
  take(slot, current) {
    const name = PREFIX + slot;
    const { key = '', lock } = this.#read(name);
    this.#attempt(() => this.storage.removeItem(name));
    const first = !this.#entries.size;
    this.#entries.set(name, current);
    if (first) this.#begin();
    return key && lock ? this.#isFree(lock).then((free) => (free ? key : '')) : key;
  }

  /** The page has a new key for this slot. */
  changed(slot) {
    const name = PREFIX + slot;
    if (this.#lock && this.#entries.has(name)) this.#write(name);
  }

  /** The membership is over: its key is of no use. */
  drop(slot) {
    const name = PREFIX + slot;
    if (!this.#entries.delete(name)) return;
    this.#attempt(() => this.storage.removeItem(name));
    if (!this.#entries.size) this.#end();
  }

  #begin() {
    globalThis.addEventListener?.('pagehide', this.#hidden);
    globalThis.addEventListener?.('pageshow', this.#shown);
    this.#acquire();
  }

  #end() {
    globalThis.removeEventListener?.('pagehide', this.#hidden);
    globalThis.removeEventListener?.('pageshow', this.#shown);
    this.#giveUpLock();
  }

  #hide() {
    // A page that holds a lock cannot enter the back/forward cache.
    this.#giveUpLock();
    for (const name of this.#entries.keys()) this.#write(name);
  }

  #giveUpLock() {
    this.#turn += 1;
    this.#lock = '';
    this.#release();
  }

  #acquire() {
    const lock = PREFIX + randomText(12);
    const turn = ++this.#turn;
    const held = () => {
      if (turn !== this.#turn) return undefined;
      this.#lock = lock;
      for (const name of this.#entries.keys()) this.#write(name);
      return new Promise((resolve) => { this.#release = resolve; });
    };
    this.#request(lock, {}, held);
  }

  #isFree(lock) {
    return new Promise((resolve) => {
      this.#request(lock, { ifAvailable: true }, (found) => resolve(found !== null)).then(() => resolve(false));
    });
  }

  /** Request a lock; resolves in any case, also if the browser allows no locks. */
  async #request(lock, options, callback) {
    try {
      await this.locks?.request(lock, options, callback);
    } catch {
      // An opaque origin, or a page that ends: without a lock, keys are written on `pagehide` only.
    }
  }

  #read(name) {
    let entry;
    this.#attempt(() => { entry = JSON.parse(this.storage.getItem(name)); });
    // Other scripts of the origin may write there as well.
    if (typeof entry?.key !== 'string' || !KEY.test(entry.key)) return {};
    return { key: entry.key, at: entry.at, lock: typeof entry.lock === 'string' ? entry.lock : '' };
  }

  #write(name) {
    const entry = { key: this.#entries.get(name)(), at: Date.now(), ...(this.#lock && { lock: this.#lock }) };
    this.#attempt(() => this.storage.setItem(name, JSON.stringify(entry)));
  }

  #removeOld() {
    this.#attempt(() => {
      const names = Object.keys(this.storage).filter((name) => name.startsWith(PREFIX));
      for (const name of names) if (!(Math.abs(Date.now() - this.#read(name).at) < MAX_AGE)) this.storage.removeItem(name);
    });
  }

  /** Storage may be full, or forbidden at any time: a page works without it. */
  #attempt(access) {
    try {
      if (this.storage) access();
    } catch {
      // The page joins under a new key then.
    }
  }
}

/** The storage of this tab; null if the browser forbids it, or has none. */
function defaultStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
