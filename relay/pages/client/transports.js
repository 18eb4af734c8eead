// The ways to the relay: a WebSocket, and HTTP if the network lets no WebSocket through.
//
// 1. A WebSocket is tried first. If attempts in a row bring no frame, the next attempt is over HTTP. Only a frame over HTTP shows
//    that WebSockets are blocked: while the relay is down, there is none.
// 2. Over HTTP, the client tries now and then whether a WebSocket brings a frame. Then the connection moves to one: it is
//    resumed there, like one that was lost.

import { Backoff } from './backoff.js';
import { RelayError } from './errors.js';
import { HttpSocket, canStream } from './httpsocket.js';

export const TRANSPORTS = ['websocket', 'http'];

// Attempts without a frame after which HTTP is tried; once a WebSocket has brought frames, it is more likely that the relay is down.
const ENOUGH = 2;
const ENOUGH_AFTER_USE = 4;

const LONGEST = 60_000;
const PROBE_TIMEOUT = 10_000;
const NORMAL = 1000;

/** The findings of a `Relay` about its network, for all of its connections. */
export class Transports {
  blocked = false; // WebSockets are, while HTTP is not
  used = false; // a WebSocket has brought frames

  constructor(names = TRANSPORTS) {
    const known = Array.isArray(names) && names.length > 0 && names.every((name) => TRANSPORTS.includes(name));
    if (!known) throw new RelayError('bad_transport', `transports are some of ${TRANSPORTS.join(', ')}`);
    this.names = names;
  }

}

/** The sockets of one connection, one after the other. `found` is called when a WebSocket works while the present one is over HTTP. */
export class Route {
  #transports;
  #WebSocket;
  #failures = 0;
  #heard = false;
  #probes;
  #probe = null;
  #timer = 0;
  #found;

  constructor({ transports, WebSocket, interval, random, found }) {
    this.#transports = transports;
    this.#WebSocket = WebSocket;
    this.#probes = new Backoff({ base: interval / 2, cap: LONGEST / 2, random });
    this.#found = found;
    this.name = '';
  }

  /** Open the next socket. */
  open(url, protocols) {
    this.name = this.#next();
    this.#heard = false;
    return this.name === 'http' ? new HttpSocket(url, protocols) : new this.#WebSocket(url, protocols);
  }

  /** A frame has arrived. */
  heard() {
    if (this.#heard) return;
    this.#heard = true;
    this.#failures = 0;
    this.#transports.blocked = this.name === 'http';
    if (this.name === 'http') return;
    this.#transports.used = true;
    this.#probes.reset();
  }

  /** The socket has ended; one that was silent for long is enough: two of them take longer than a membership is held. */
  ended({ late = false } = {}) {
    this.stop();
    if (this.#heard) return;
    if (this.name === 'http') {
      // Either way may work next. If no WebSocket did, one attempt is enough.
      this.#failures = this.#transports.blocked ? this.#enough - 1 : 0;
      this.#transports.blocked = false;
    } else {
      this.#failures += late ? this.#enough : 1;
    }
  }

  /** Try WebSockets from now on, if the present one is over HTTP; `url` is one of the relay's that needs no membership. */
  watch(url) {
    this.stop();
    if (this.name !== 'http' || !this.#both) return;
    const delay = this.#probes.bound + this.#probes.next();
    this.#timer = setTimeout(() => this.#try(url), delay);
  }

  /** A WebSocket is to be next. If it fails, the one after it is over HTTP again. */
  change() {
    this.#transports.blocked = false;
    this.#failures = this.#enough - 1;
  }

  stop() {
    clearTimeout(this.#timer);
    const probe = this.#probe;
    this.#probe = null;
    if (!probe) return;
    probe.onmessage = probe.onclose = null;
    probe.close(NORMAL);
  }

  /** Whether a connection may be in either way. */
  get #both() {
    return TRANSPORTS.every((name) => this.#transports.names.includes(name)) && Boolean(this.#WebSocket) && canStream();
  }

  get #enough() {
    return this.#transports.used ? ENOUGH_AFTER_USE : ENOUGH;
  }

  #next() {
    const { names, blocked } = this.#transports;
    if (!this.#both) return names.includes('websocket') ? 'websocket' : 'http';
    return blocked || this.#failures >= this.#enough ? 'http' : 'websocket';
  }

  /** Any frame is enough, also a refusal: it came from the relay. */
  #try(url) {
    // Another connection may have found out meanwhile.
    if (!this.#transports.blocked) {
      this.#found();
      return;
    }
    const probe = new this.#WebSocket(url, ['relay.v1']);
    this.#probe = probe;
    probe.onmessage = () => {
      this.stop();
      this.#found();
    };
    probe.onclose = () => this.watch(url);
    probe.onerror = () => {};
    this.#timer = setTimeout(() => this.watch(url), PROBE_TIMEOUT);
  }
}
