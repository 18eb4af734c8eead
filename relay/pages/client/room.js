// The room that a page uses: `join` returns it.

import { RelayError } from './errors.js';
import { escapeName } from './names.js';
import { rulesOf } from './position.js';

const EVENTS = [
  'message', 'join', 'change', 'leave', 'count', 'open', 'reconnecting', 'resumed', 'ice', 'error', 'rules', 'kicked', 'closed',
  'move',
];
const SEND_TIMEOUT = 30_000;
const MAX_QUEUED = 1000;

/** An `Event` that has its details as properties. */
export class RelayEvent extends Event {
  constructor(name, details) {
    super(name);
    Object.assign(this, details);
  }
}

/**
 * A room that this client joined with `Relay.join`, or observes with `Relay.observe`.
 *
 * Events are `message`, `join`, `change`, `leave`, `count`, `open`, `reconnecting`, `resumed`, `ice`, `error`, `rules`,
 * `kicked`, `closed`, `move` and `close`, in the order of the room. A loop `for await (const event of room)` gets all of them
 * but `close`.
 */
export class Room extends EventTarget {
  #connection;
  #membership;
  #ready = {};

  constructor(connection, membership) {
    super();
    this.#connection = connection;
    this.#membership = membership;
    this.ready = new Promise((resolve, reject) => Object.assign(this.#ready, { resolve, reject }));
    // A rejection that no caller awaits must not be reported as unhandled: the event `close` reports the same.
    this.ready.catch(() => {});
    this.first = false;
    membership.report = (name, details) => this.#dispatch(name, details);
  }

  get name() {
    return this.#membership.name;
  }

  get peer() {
    return this.#membership.peer;
  }

  get members() {
    return [...this.#membership.position.members];
  }

  get infos() {
    return new Map(this.#membership.position.infos);
  }

  get count() {
    return this.#membership.position.count;
  }

  get connected() {
    return this.#membership.joined;
  }

  get transport() {
    return this.connected ? this.#connection.transport : '';
  }

  get id() {
    return this.#membership.position.id;
  }

  get iceServers() {
    return this.#membership.iceServers;
  }

  get closed() {
    return this.#membership.closed;
  }

  get waiting() {
    return this.#membership.outbox.length;
  }

  get resent() {
    return this.#membership.outbox.resent;
  }

  get duplicates() {
    return this.#membership.position.duplicates;
  }

  send(message, { to, channel, sender, key, timeout = SEND_TIMEOUT } = {}) {
    const envelope = { sender, channel, message, to, key };
    try {
      if (this.#membership.closed) throw this.#membership.closed;
      const item = this.#membership.outbox.add(envelope);
      const timer = timeout < Infinity && setTimeout(() => this.#giveUp(item), timeout);
      this.#connection.wake(this.#membership);
      return item.done.finally(() => clearTimeout(timer));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  setInfo(info) {
    try {
      if (this.#membership.closed) throw this.#membership.closed;
      const done = this.#membership.info.change(info);
      this.#connection.wake(this.#membership);
      return done;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  // Commands of a client that has a say in the room.

  rules() {
    return this.#command({ type: 'rules' }).then(rulesOf);
  }

  setRules(change) {
    return this.#command({ type: 'rules', set: change }).then(rulesOf);
  }

  lock() {
    return this.setRules({ locked: true });
  }

  unlock() {
    return this.setRules({ locked: false });
  }

  async kick(peer, { reason, ban } = {}) {
    const { count } = await this.#command({ type: 'kick', peer, reason, ban });
    return count;
  }

  async closeRoom({ reason } = {}) {
    try {
      await this.#command({ type: 'close', reason });
    } catch (error) {
      // The relay puts this client out, too, perhaps before it answers.
      if (this.closed?.code !== 'room_closed') throw error;
    }
  }

  async movePeers(to, peers) {
    const { count } = await this.#command({ type: 'move', to: escapeName(to), peers: peers && [peers].flat() });
    return count;
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
    return this.#connection.leave(this.#membership);
  }

  drop() {
    this.#connection.drop();
  }

  async *[Symbol.asyncIterator]() {
    const queue = [];
    let wake = () => {};
    const enqueue = (event) => {
      queue.push(event);
      wake();
    };
    for (const name of [...EVENTS, 'close']) this.addEventListener(name, enqueue);
    try {
      while (this.#continues(queue)) {
        if (queue.length) yield queue.shift();
        else await new Promise((resolve) => { wake = resolve; });
      }
    } finally {
      for (const name of [...EVENTS, 'close']) this.removeEventListener(name, enqueue);
    }
  }

  /** Whether a loop over events goes on; throws if it ends with an error. */
  #continues(queue) {
    const { closed } = this.#membership;
    if (queue.length > MAX_QUEUED) throw new RelayError('overflow', 'events come faster than they are taken');
    if (!(closed && !queue.length) && queue[0]?.type !== 'close') return true;
    if (closed.code !== 'left') throw closed;
    return false;
  }

  async #command(command) {
    if (this.#membership.closed) throw this.#membership.closed;
    if (!this.connected) throw new RelayError('not_acknowledged', 'there is no connection; it was not sent');
    const answer = await this.#connection.request(this.#membership, command);
    if (!answer) throw new RelayError('not_acknowledged', 'the connection was lost; it may have been done', true);
    if (answer.type === 'error') throw new RelayError(answer.code, answer.text);
    return answer;
  }

  #giveUp(item) {
    this.#membership.outbox.giveUp(item);
    this.#connection.wake(this.#membership);
  }

  #dispatch(name, details) {
    if (name === 'open') {
      this.first = details.first;
      this.#ready.resolve(this);
    } else if (name === 'close') {
      this.#ready.reject(this.#membership.closed);
    }
    this.dispatchEvent(new RelayEvent(name, details));
  }
}
