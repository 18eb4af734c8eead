// A connection to the relay that carries any number of rooms, and is made anew whenever it is lost.

import { Backoff } from './backoff.js';
import { COME_AGAIN, RelayError, endOf } from './errors.js';

// The close code by which a dead connection is let go of: not one that says goodbye, should it arrive after all.
const LOST = 4001;

const OPEN = 1;

/** How a client goes about it; times are in milliseconds. */
export const DEFAULTS = {
  outgoing: 1000, // envelopes of a room that may wait for the relay
  window: 32, // of these, on their way
  connectTimeout: 10_000, // from opening a connection to the welcome
  pingInterval: 10_000, // who hears nothing for so long asks,
  pingTimeout: 5000, // and after so long without an answer connects anew
  closeTimeout: 2000, // for saying goodbye
};

/**
 * The first room stands in the connection's address, the others are joined by commands. When a connection ends for a
 * reason that concerns its own room alone, the others go on over the next.
 *
 * `urls` are where the relay is; each new connection tries the next.
 */
export class Link {
  #seats = [];
  #joins = new Map();
  #answers = new Map();
  #socket = null;
  #own = null; // the room in the connection's address, which its frames do not name
  #welcomed = false; // whether that one has let us in; it can be left while others stay
  #turn = 0;
  #keys = 0;
  #waiting = 0;
  #deadline = 0;
  #watching = 0;
  #heard = false;
  #asked = false;
  #paused = 0;
  #attempt = 0;
  #refusal = null;
  #check = () => this.check();

  constructor({ urls, peer, token = '', WebSocket = globalThis.WebSocket, random = Math.random, ...options }) {
    this.urls = urls;
    this.peer = peer;
    this.token = token;
    this.WebSocket = WebSocket;
    this.options = options;
    this.backoff = new Backoff({ random });
    this.again = new Backoff({ base: 50, cap: 1000, random });
    this.reconnects = -1;
    this.#listen('addEventListener');
  }

  get empty() {
    return this.#seats.length === 0;
  }

  get connected() {
    return this.#own?.inside ?? false;
  }

  // What rooms ask for.

  /** Take a room along; the connection is made if there is none. */
  enter(seat) {
    this.#seats.push(seat);
    if (this.#ready) this.#join(seat);
    else if (!this.#socket && !this.#waiting) this.#connect();
  }

  /** Say what is in a room's outbox. */
  wake(seat) {
    if (!seat.inside || this.#paused || !this.#ready) return;
    for (const frame of seat.outbox.frames(this.#label(seat))) {
      this.#socket.send(frame);
    }
  }

  /** A command about a room that this client is in, or just joins; the promise is for the answer, undefined if none. */
  ask(seat, command) {
    if (!seat.inside && !(seat.asked && this.#ready)) return Promise.resolve(undefined);
    const key = `ask-${this.#keys++}`;
    this.#send({ ...command, room: seat.name, key });
    return new Promise((resolve) => this.#answers.set(key, resolve));
  }

  /** Send what waits, say goodbye, and wait for it to be heard; all that no longer than `closeTimeout` each. */
  async leave(seat) {
    const { closeTimeout } = this.options;
    if (seat.inside) await within(closeTimeout, Promise.allSettled(seat.outbox.waiting));
    await within(closeTimeout, this.ask(seat, { type: 'leave' }));
    this.#drop(seat);
    seat.end(new RelayError('left', 'this client has left the room'));
    if (this.empty) {
      this.#stop(1000);
    } else if (seat === this.#own && !this.#welcomed) {
      // Nobody is left to be welcomed over this one: the next is another room's.
      this.#close(1000);
      this.#connect();
    }
  }

  /** Lose the connection without a word, as a change of network would. It comes back by itself. */
  drop() {
    if (this.#socket) this.#lose(endOf(1006, ''), LOST);
  }

  /** Something has changed, such as the network, or the page was asleep: see at once whether the relay is there. */
  check() {
    if (this.#waiting) this.#connect();
    else if (this.#ready && !this.#asked) this.#ask();
  }

  // Coming.

  get #ready() {
    return this.#socket?.readyState === OPEN && this.#welcomed;
  }

  #connect() {
    clearTimeout(this.#waiting);
    this.#waiting = 0;
    const own = (this.#own = this.#seats[0]);
    const url = this.urls[this.#turn++ % this.urls.length] + own.path;
    const protocols = ['relay.v1', `resume.${own.place.resume}`, ...(this.token && [`token.${this.token}`])];
    let socket;
    try {
      socket = new this.WebSocket(`${url}?${own.query(this.peer)}`, protocols);
    } catch (error) {
      this.#endAll(new RelayError('unreachable', String(error.message)));
      return;
    }
    this.#socket = socket;
    this.#refusal = null;
    own.asking();
    socket.onmessage = ({ data }) => this.#hear(data);
    socket.onclose = ({ code, reason }) => this.#lose(endOf(code, reason));
    // `close` follows and says what there is to say; without a listener, that of the package `ws` throws.
    socket.onerror = () => {};
    const late = { code: 'unreachable', text: 'no welcome in time', final: false };
    this.#deadline = setTimeout(() => this.#lose(late, LOST), this.options.connectTimeout);
  }

  #join(seat) {
    const key = `join-${this.#keys++}`;
    this.#joins.set(key, seat);
    // One that was left and is entered again: the relay knows it as the connection's own.
    if (seat.name === this.#own?.name) this.#own = seat;
    seat.asking();
    this.#send(seat.joinCommand(key));
  }

  #welcome(seat, frame) {
    this.#joins.delete(frame.key);
    if (!this.#seats.includes(seat)) return; // left meanwhile
    const begins = !this.#welcomed;
    // Before anybody hears of it, who may end it.
    if (begins) this.#begin(seat);
    seat.welcome(frame);
    if (begins) for (const command of seat.afterwards()) this.ask(seat, command);
    this.wake(seat);
  }

  #begin(seat) {
    clearTimeout(this.#deadline);
    this.#welcomed = true;
    this.#attempt = 0;
    this.reconnects += 1;
    this.backoff.reset();
    this.#watch();
    for (const other of this.#seats) if (other !== seat) this.#join(other);
  }

  // Hearing.

  #hear(text) {
    if (this.#asked) this.#watch();
    else this.#heard = true;
    const frame = parse(text);
    if (!frame) {
      this.#lose({ code: 'protocol_error', text: 'this is no relay', final: true }, LOST);
      return;
    }
    this.#answers.get(frame.key)?.(frame);
    this.#answers.delete(frame.key);
    const seat = this.#seatOf(frame);
    if (!seat) return;
    if (frame.type === 'welcome') {
      this.#welcome(seat, frame);
      return;
    }
    if (frame.type === 'ack') {
      seat.outbox.acknowledged(frame.key, frame.id);
      this.again.reset();
    } else if (frame.type === 'error') {
      this.#refused(seat, frame);
    }
    seat.hear(frame);
    this.wake(seat);
  }

  /** Frames about another room than the connection's own name it; errors may only have the key that they answer. */
  #seatOf(frame) {
    const asked = this.#joins.get(frame.key);
    if (asked) return asked;
    if (frame.room) {
      const named = this.#seats.find((seat) => seat.name === frame.room);
      return named ?? (this.#own?.name === null ? this.#own : undefined);
    }
    const owner = frame.type === 'error' && this.#seats.find((seat) => seat.outbox.has(frame.key));
    return owner || (this.#seats.includes(this.#own) ? this.#own : undefined);
  }

  #refused(seat, { code, text, key, about }) {
    if (about === 'join' && seat === this.#own) {
      // The connection ends for it.
      this.#refusal = { code, text };
    } else if (about === 'join') {
      this.#joins.delete(key);
      seat.asked = false;
      if (COME_AGAIN.has(code)) setTimeout(() => this.#joinAgain(seat), this.again.next(250));
      else this.#end(seat, new RelayError(code, text));
    } else if (key && seat.outbox.refused(key, code, text)) {
      this.#pause(this.again.next(50));
    } else if (code === 'too_many_channels') {
      // Then all of them, and those that are not wanted are dropped here.
      seat.channels = null;
      this.ask(seat, { type: 'unsubscribe' });
    }
  }

  #joinAgain(seat) {
    if (this.#ready && this.#seats.includes(seat) && !seat.inside && !seat.asked) this.#join(seat);
  }

  #pause(delay) {
    clearTimeout(this.#paused);
    this.#paused = setTimeout(() => {
      this.#paused = 0;
      for (const seat of this.#seats) this.wake(seat);
    }, delay);
  }

  // Whether the relay is there at all.

  #watch() {
    clearTimeout(this.#watching);
    this.#heard = this.#asked = false;
    this.#watching = setTimeout(() => (this.#heard ? this.#watch() : this.#ask()), this.options.pingInterval);
  }

  #ask() {
    clearTimeout(this.#watching);
    this.#asked = true;
    const seat = this.#seats.find((one) => one.inside);
    this.#send({ type: 'ping', ...(seat && { room: seat.name }) });
    const silent = { code: 'silent', text: 'the relay did not answer in time', final: false };
    this.#watching = setTimeout(() => this.#lose(silent, LOST), this.options.pingTimeout);
  }

  // Going.

  /** The connection has ended; with `closeCode`, it is given up from this side. */
  #lose(end, closeCode) {
    const own = this.#own;
    const refusal = this.#refusal;
    const reason = refusal ? { ...end, ...refusal } : end;
    this.#close(closeCode);
    for (const seat of this.#seats) seat.lose(end);
    // Not a short-circuit: each of them forgets its unanswered attempt.
    const takenBack = end.replaced && this.#seats.filter((seat) => seat.place.takeBack()).length > 0;
    this.#attempt += 1;
    const delay = end.elsewhere || takenBack ? this.backoff.soon() : this.backoff.next();
    // Now, so that whoever enters a room when told that another has ended waits for it too.
    this.#waiting = setTimeout(() => this.#connect(), delay);
    if (end.final && !takenBack) {
      const error = new RelayError(reason.code, reason.text);
      if (refusal) this.#end(own, error);
      else this.#endAll(error);
    } else if (refusal) {
      // The next connection is another room's, if there is one.
      this.#seats.push(this.#seats.shift());
    }
    const { code, text } = reason;
    for (const seat of [...this.#seats]) seat.tell('reconnecting', { code, text, delay, attempt: this.#attempt });
  }

  #close(code) {
    const socket = this.#socket;
    for (const timer of [this.#deadline, this.#watching, this.#paused, this.#waiting]) clearTimeout(timer);
    this.#paused = this.#waiting = 0;
    this.#asked = this.#welcomed = false;
    this.#socket = this.#own = null;
    this.#joins.clear();
    for (const answer of this.#answers.values()) answer(undefined);
    this.#answers.clear();
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    if (code) socket.close(code);
  }

  #stop(code) {
    this.#close(code);
    this.#listen('removeEventListener');
  }

  #end(seat, error) {
    this.#drop(seat);
    seat.end(error);
    if (this.empty) this.#stop(1000);
  }

  #endAll(error) {
    const seats = this.#seats;
    this.#seats = [];
    this.#stop(1000);
    for (const seat of seats) seat.end(error);
  }

  #drop(seat) {
    this.#seats = this.#seats.filter((one) => one !== seat);
  }

  // Within.

  #send(command) {
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(command));
  }

  /** What a command says of its room: nothing, where it is the connection's own. */
  #label(seat) {
    return seat === this.#own ? '' : seat.name;
  }

  /** The network is back, or the page is seen again: then a look at once finds out more than a timer. */
  #listen(method) {
    for (const [target, events] of [
      [globalThis, ['online', 'pageshow']],
      [globalThis.document, ['visibilitychange', 'resume']],
    ]) {
      for (const event of events) target?.[method]?.(event, this.#check);
    }
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function within(time, promise) {
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, time); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
