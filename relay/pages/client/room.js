// A room, as its user sees it: send, hear, know who is there.

import { RelayError } from './errors.js';

const EVENTS = ['message', 'join', 'leave', 'open', 'reconnecting', 'resumed', 'error'];
const SEND_TIMEOUT = 30_000;
const MOST_WAITING = 1000;

/** What a room tells: an `Event` that has its details as properties. */
export class RelayEvent extends Event {
  constructor(name, details) {
    super(name);
    Object.assign(this, details);
  }
}

/**
 * See `Relay.join`. Events are `message`, `join`, `leave`, `open`, `reconnecting`, `resumed`, `error`, `close`, in the
 * order in which everybody in the room sees them; a loop `for await (const event of room)` gets them all but the last.
 */
export class Room extends EventTarget {
  #link;
  #seat;
  #ready = {};

  constructor(link, seat) {
    super();
    this.#link = link;
    this.#seat = seat;
    this.ready = new Promise((resolve, reject) => Object.assign(this.#ready, { resolve, reject }));
    // Whoever does not wait for it hears of `close`.
    this.ready.catch(() => {});
    this.first = false;
    seat.tell = (name, details) => this.#tell(name, details);
  }

  get name() {
    return this.#seat.name;
  }

  get peer() {
    return this.#seat.peer;
  }

  get members() {
    return [...this.#seat.place.members];
  }

  get connected() {
    return this.#seat.inside;
  }

  get id() {
    return this.#seat.place.id;
  }

  get iceServers() {
    return this.#seat.iceServers;
  }

  get closed() {
    return this.#seat.over;
  }

  get waiting() {
    return this.#seat.outbox.length;
  }

  get resent() {
    return this.#seat.outbox.resent;
  }

  get duplicates() {
    return this.#seat.place.duplicates;
  }

  send(message, { to, channel, sender, key, timeout = SEND_TIMEOUT } = {}) {
    const envelope = { sender, channel, message, to, key };
    try {
      if (this.#seat.over) throw this.#seat.over;
      const item = this.#seat.outbox.add(envelope);
      const timer = timeout < Infinity && setTimeout(() => this.#giveUp(item), timeout);
      this.#link.wake(this.#seat);
      return item.done.finally(() => clearTimeout(timer));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  on(name, listener, options) {
    this.addEventListener(name, listener, options);
    return this;
  }

  off(name, listener, options) {
    this.removeEventListener(name, listener, options);
    return this;
  }

  leave() {
    return this.#link.leave(this.#seat);
  }

  drop() {
    this.#link.drop();
  }

  async *[Symbol.asyncIterator]() {
    const queue = [];
    let wake = () => {};
    const hear = (event) => {
      queue.push(event);
      wake();
    };
    for (const name of [...EVENTS, 'close']) this.addEventListener(name, hear);
    try {
      while (this.#goesOn(queue)) {
        if (queue.length) yield queue.shift();
        else await new Promise((resolve) => { wake = resolve; });
      }
    } finally {
      for (const name of [...EVENTS, 'close']) this.removeEventListener(name, hear);
    }
  }

  /** Whether a loop over events is not at its end, which may be an error. */
  #goesOn(queue) {
    const { over } = this.#seat;
    if (queue.length > MOST_WAITING) throw new RelayError('overflow', 'events come faster than they are taken');
    if (!(over && !queue.length) && queue[0]?.type !== 'close') return true;
    if (over.code !== 'left') throw over;
    return false;
  }

  #giveUp(item) {
    this.#seat.outbox.giveUp(item);
    this.#link.wake(this.#seat);
  }

  #tell(name, details) {
    if (name === 'open') {
      this.first = details.first;
      this.#ready.resolve(this);
    } else if (name === 'close') {
      this.#ready.reject(this.#seat.over);
    }
    this.dispatchEvent(new RelayEvent(name, details));
  }
}
