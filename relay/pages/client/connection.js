// A connection to the relay, for any number of rooms. It reconnects by itself.

import { Backoff, within } from './backoff.js';
import { JOIN_AGAIN, RelayError, endOf } from './errors.js';
import { parseFrame } from './frames.js';
import { OPEN } from './httpsocket.js';
import { Token, peerOf } from './token.js';
import { Route, Transports } from './transports.js';

// The close code for a dead connection. If it arrives after all, the relay must not take it for a goodbye.
const LOST = 4001;

/** Default options; times are in milliseconds. */
export const DEFAULTS = {
  outgoing: 1000, // envelopes of one room that may wait for their acknowledgement
  window: 32, // of these, how many are on their way at a time
  connectTimeout: 10_000, // from opening a connection to the welcome; and for the function that returns the token
  pingInterval: 10_000, // without any frame for this time, the client sends a ping
  pingTimeout: 5000, // without an answer for this time, it reconnects
  closeTimeout: 2000, // for the last acknowledgements, and for the answer to `leave`
  probeInterval: 5000, // over HTTP, from one try of a WebSocket to the next; doubled up to a minute
};

/**
 * The first room is in the connection's address: it is the connection's own, and frames do not name it. The others are
 * joined by commands. If the own room is refused, the connection ends, and the next one begins with another room.
 *
 * `urls` are addresses of the relay; each new connection tries the next one. `token` is a text, or a function that is asked
 * ahead of each connection, and when the token is about to expire. With `anyPeer`, the page wants no peer id of its own: the
 * token may name another one than `peer`. `transports` has the knowledge of the `Relay` about its network.
 */
export class Connection {
  #memberships = [];
  #joins = new Map(); // key of a join command → membership
  #answers = new Map(); // key of another command → function that takes the answer
  #socket = null;
  #route;
  #own = null;
  #welcomed = false; // the own room was welcomed; it may have been left since, while others stay
  #urlIndex = 0;
  #url = ''; // of the present connection, with the own room
  #keys = 0;
  #reconnectTimer = 0;
  #welcomeTimer = 0;
  #pingTimer = 0;
  #active = false; // a frame arrived since the ping timer began
  #pinged = false;
  #pauseTimer = 0;
  #asking = null; // the request for a token ahead of a connection; null without one
  #refreshing = false; // the page is asked for a new token, or the relay for its opinion of it
  #refreshTimer = 0;
  #putOut = false; // the relay put this client out of one of the rooms, and may close the connection for that
  #attempt = 0;
  #refusal = null; // the error that refused the own room, until the close arrives
  #away = false; // the page is in the back/forward cache
  // A page that ends is hidden, too: it is not to connect again.
  #check = ({ type }) => (type !== 'visibilitychange' || document.visibilityState === 'visible') && this.check();
  #hidden = ({ persisted }) => persisted && this.#leaveWithPage();
  #shown = ({ persisted }) => persisted && this.#restoreAll();

  constructor({
    urls, peer, anyPeer = false, token = '', keys, WebSocket = globalThis.WebSocket, random = Math.random, transports = new Transports(),
    ...options
  }) {
    this.urls = urls;
    this.keys = keys;
    this.peer = peer;
    this.anyPeer = anyPeer;
    this.token = new Token(token);
    this.options = options;
    const found = () => this.#change();
    this.#route = new Route({ transports, WebSocket, interval: options.probeInterval, random, found });
    this.backoff = new Backoff({ random });
    this.retryBackoff = new Backoff({ base: 50, cap: 1000, random });
    this.reconnects = -1;
    this.#listen('addEventListener');
  }

  get empty() {
    return this.#memberships.length === 0;
  }

  get connected() {
    return this.#own?.joined ?? false;
  }

  /** 'websocket' or 'http'; '' without a connection. */
  get transport() {
    return this.#socket ? this.#route.name : '';
  }

  // Called by rooms.

  /** Add a room; connect if there is no connection. */
  enter(membership) {
    this.#memberships.push(membership);
    this.#restore(membership);
    this.#enter(membership);
  }

  /** Send this client's new info, and the envelopes in a room's outbox. */
  wake(membership) {
    if (!membership.joined || !this.#ready) return;
    const command = membership.info.command(this.#label(membership));
    if (command) this.#send(command);
    if (this.#pauseTimer) return;
    for (const frame of membership.outbox.frames(this.#label(membership))) {
      this.#socket.send(frame);
    }
  }

  /** Send a command about a room that this client is in, or joins. Resolves with the answer, or undefined without one. */
  request(membership, command) {
    if (!membership.joined && !(membership.joining && this.#ready)) return Promise.resolve(undefined);
    return this.#request({ ...command, room: membership.escaped });
  }

  /** Send the waiting envelopes, send `leave`, and wait for the answer: at most `closeTimeout` for each of the two. */
  async leave(membership) {
    const { closeTimeout } = this.options;
    if (membership.joined) await within(closeTimeout, Promise.allSettled(membership.outbox.waiting));
    if (!membership.observe) await within(closeTimeout, this.request(membership, { type: 'leave' }));
    this.#drop(membership);
    membership.end(new RelayError('left', 'this client has left the room'));
    if (this.empty) {
      this.#stop(1000);
    } else if (membership === this.#own && !this.#welcomed) {
      // The own room is gone before its welcome, so this connection would never be welcomed: begin with another room.
      this.#close(1000);
      this.#connect();
    }
  }

  /** Lose the connection on purpose, as a change of network would. It reconnects by itself. */
  drop() {
    if (this.#socket) this.#disconnected(endOf(1006, ''), LOST);
  }

  /** The network changed, or the page woke up: check now whether the relay answers. */
  check() {
    if (this.#reconnectTimer) this.#connect();
    else if (this.#ready && !this.#pinged) this.#ping();
  }

  // Connecting and joining.

  get #ready() {
    return this.#socket?.readyState === OPEN && this.#welcomed;
  }

  #enter(membership) {
    if (this.#ready) this.#join(membership);
    else if (!this.#socket && !this.#reconnectTimer && !this.#asking) this.#connect();
  }

  /** Take the key that the page before this one has stored. Until it is known, the room is not joined. */
  #restore(membership) {
    const { slot, position } = membership;
    if (!slot) return;
    const found = this.keys.take(slot, () => position.resume);
    membership.restoring = typeof found !== 'string';
    if (!membership.restoring) {
      membership.restore(found);
      return;
    }
    found.then((key) => {
      membership.restore(key);
      if (this.#memberships.includes(membership)) this.#enter(membership);
    });
  }

  #connect() {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = 0;
    if (!this.#next || this.#away) return;
    if (this.token.renewable) this.#openWithNewToken();
    else this.#open(this.token.given);
  }

  async #openWithNewToken() {
    const asking = this.token.ask(this.options.connectTimeout);
    this.#asking = asking;
    const answer = await asking.catch((error) => error);
    if (asking !== this.#asking) return; // all rooms were left meanwhile, or a newer request is on its way
    this.#asking = null;
    if (typeof answer !== 'string') this.#disconnected({ code: answer.code, text: answer.text, closedByRelay: true });
    else if (this.#next && !this.#away) this.#open(answer);
  }

  /** The room that the next connection begins with. */
  get #next() {
    return this.#memberships.find((membership) => !membership.restoring);
  }

  #open(token) {
    const own = this.#next;
    this.#own = own;
    const url = this.urls[this.#urlIndex++ % this.urls.length] + own.path;
    const protocols = [...own.protocols, ...(token && [`token.${token}`])];
    let socket;
    try {
      socket = this.#route.open(`${url}?${own.query(this.anyPeer ? peerOf(token, this.peer) : this.peer)}`, protocols);
    } catch (error) {
      this.#endAll(new RelayError('unreachable', String(error.message)));
      return;
    }
    this.#socket = socket;
    this.#putOut = false;
    own.startJoining();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => {
      this.#route.ended();
      this.#disconnected(endOf(code, reason));
    };
    // `close` follows with the reason. The package `ws` throws if there is no listener for `error`.
    socket.onerror = () => {};
    const late = { code: 'unreachable', text: 'no welcome in time', final: false };
    this.#welcomeTimer = setTimeout(() => {
      this.#route.ended({ late: true });
      this.#disconnected(late, LOST);
    }, this.options.connectTimeout);
    this.#url = url;
  }

  /** A WebSocket works again: move there. An answer that is on its way would be lost. */
  #change() {
    if (this.#answers.size || this.#joins.size || this.#refreshing) {
      this.#route.watch(`${this.#url}?observe=presence`);
      return;
    }
    this.#route.change();
    this.#disconnected({ code: 'upgrading', text: 'a WebSocket works again', final: false, now: true }, LOST);
  }

  #join(membership) {
    if (membership.restoring) return;
    const key = `join-${this.#keys++}`;
    this.#joins.set(key, membership);
    // A room that was left and is joined again: frames of the relay will not name it, as it is in the address.
    if (membership.escaped === this.#own?.escaped) this.#own = membership;
    membership.startJoining();
    this.#send(membership.joinCommand(key));
  }

  #welcome(membership, frame) {
    this.#joins.delete(frame.key);
    if (!this.#memberships.includes(membership)) return; // left meanwhile
    if (membership.observe && !frame.observer) {
      this.#close(1000); // as a member would: so that it leaves at once
      this.#endAll(new RelayError('protocol_error', 'this relay has no observers'));
      return;
    }
    const begins = !this.#welcomed;
    // Join the other rooms first: a listener of the welcome may close the connection.
    if (begins) this.#begin(membership);
    const succeeds = membership.succeeds(frame);
    if (!succeeds) membership.welcome(frame);
    if (membership.slot) this.keys.changed(membership.slot);
    if (succeeds) {
      this.#joinAnew(membership);
      return;
    }
    if (begins) for (const command of membership.afterwards()) this.request(membership, command);
    this.wake(membership);
  }

  async #joinAnew(membership) {
    await this.request(membership, { type: 'leave' });
    if (this.#ready && this.#memberships.includes(membership)) this.#join(membership);
  }

  #begin(membership) {
    clearTimeout(this.#welcomeTimer);
    this.#welcomed = true;
    this.#attempt = 0;
    this.reconnects += 1;
    this.backoff.reset();
    this.#schedulePing();
    this.#route.watch(`${this.#url}?observe=presence`);
    for (const other of this.#memberships) if (other !== membership) this.#join(other);
  }

  // Receiving.

  #receive(text) {
    this.#route.heard();
    if (this.#pinged) this.#schedulePing();
    else this.#active = true;
    const frame = parseFrame(text);
    if (!frame) {
      this.#unreadable();
      return;
    }
    this.#answers.get(frame.key)?.(frame);
    this.#answers.delete(frame.key);
    if (frame.type === 'token_expiring') this.#refresh();
    if (frame.type === 'ice') {
      for (const one of [...this.#memberships]) if (!one.observe) one.renewIce(frame);
      return;
    }
    const membership = this.#membershipOf(frame);
    if (!membership) return;
    if (frame.type === 'welcome') {
      this.#welcome(membership, frame);
      return;
    }
    if (frame.type === 'ack') {
      membership.outbox.acknowledged(frame.key, frame.id);
      this.retryBackoff.reset();
    } else if (frame.type === 'info') {
      membership.info.answered(frame.key);
      this.retryBackoff.reset();
    } else if (frame.type === 'error') {
      this.#failed(membership, frame);
    }
    if (membership.joined) {
      membership.receive(frame);
      this.#leaveAsTold(membership, frame);
    }
    this.wake(membership);
  }

  /** Leave a room, if a frame says that this client is put out of it. A connection without other rooms ends. */
  #leaveAsTold(membership, frame) {
    const error = membership.putOutBy(frame);
    if (!error || membership.closed) return;
    this.#putOut = true;
    this.#end(membership, error, frame.reason);
  }

  /**
   * A frame that is no JSON object. It must not end a client that works. As the first frame of a connection, it is not a
   * relay's: the address is wrong, unless a relay has answered there before.
   */
  #unreadable() {
    if (this.#welcomed) {
      const details = { code: 'unreadable', text: 'a frame of the relay cannot be read; an event may be missing' };
      for (const membership of [...this.#memberships]) if (membership.joined) membership.report('error', details);
    } else {
      const final = this.reconnects < 0;
      this.#disconnected({ code: 'protocol_error', text: 'no relay answers at this address', final }, LOST);
    }
  }

  /** The membership that a frame is for. Frames of the own room do not name it; some errors have only the key. */
  #membershipOf(frame) {
    const joining = this.#joins.get(frame.key);
    if (joining) return joining;
    if (frame.room) {
      const named = this.#memberships.find((membership) => membership.escaped === frame.room);
      return named ?? (this.#own?.escaped === null ? this.#own : undefined);
    }
    const asked = ({ outbox, info }) => outbox.has(frame.key) || info.has(frame.key);
    const owner = frame.type === 'error' && this.#memberships.find(asked);
    return owner || (this.#memberships.includes(this.#own) ? this.#own : undefined);
  }

  #failed(membership, { code, text, key, about, held }) {
    if (about === 'join' && membership === this.#own && !this.#welcomed) {
      // The relay closes the connection next; the close decides whether to try again.
      this.#refusal = { code, text, held };
    } else if (about === 'join') {
      this.#joins.delete(key);
      membership.joining = false;
      // With a new token, the next connection joins this room, too.
      const expired = code === 'token_expired' && this.token.renewable;
      if (JOIN_AGAIN.has(code) || expired || membership.mayBecomeFree({ code, held })) setTimeout(() => this.#joinAgain(membership), this.retryBackoff.next(250));
      else this.#end(membership, new RelayError(code, text));
    } else if (membership.info.has(key)) {
      if (membership.info.refused(key, code, text)) setTimeout(() => this.#infoAgain(membership), this.retryBackoff.next(250));
    } else if (key && membership.outbox.refused(key, code, text)) {
      this.#pause(this.retryBackoff.next(50));
    } else if (about === 'presence' && !key) {
      // The token does not grant presence: this client is in the room, and does not see who else is there.
      membership.report('error', { code, text });
    } else if (code === 'too_many_channels') {
      // Receive all channels then; `Channels` drops those that the page did not open.
      membership.channels = null;
      this.request(membership, { type: 'unsubscribe' });
    }
  }

  #joinAgain(membership) {
    if (!this.#ready || !this.#memberships.includes(membership)) return;
    if (!membership.joined && !membership.joining) this.#join(membership);
  }

  #infoAgain(membership) {
    membership.info.again();
    this.wake(membership);
  }

  #pause(delay) {
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = setTimeout(() => {
      this.#pauseTimer = 0;
      for (const membership of this.#memberships) this.wake(membership);
    }, delay);
  }

  // Tokens: the relay says when one is about to expire.

  async #refresh() {
    if (!this.token.renewable || this.#refreshing) return;
    clearTimeout(this.#refreshTimer);
    this.#refreshing = true;
    const socket = this.#socket;
    try {
      const token = await this.token.ask(this.options.connectTimeout);
      const answer = socket === this.#socket && (await this.#request({ type: 'refresh', token }));
      if (answer?.type === 'error') throw new RelayError(answer.code, answer.text);
      if (answer) this.backoff.reset();
    } catch ({ code, text }) {
      if (socket === this.#socket) this.#refreshLater({ code, text });
    } finally {
      if (socket === this.#socket) this.#refreshing = false;
    }
  }

  /** The token lasts for some time still. When it ends, the relay closes the connection; the next one has a new token. */
  #refreshLater(details) {
    for (const membership of [...this.#memberships]) if (membership.joined) membership.report('error', details);
    this.#refreshTimer = setTimeout(() => this.#refresh(), this.backoff.next(1000));
  }

  // Liveness: a connection can be dead without any sign.

  #schedulePing() {
    clearTimeout(this.#pingTimer);
    this.#active = this.#pinged = false;
    this.#pingTimer = setTimeout(() => (this.#active ? this.#schedulePing() : this.#ping()), this.options.pingInterval);
  }

  #ping() {
    clearTimeout(this.#pingTimer);
    this.#pinged = true;
    const membership = this.#memberships.find((one) => one.joined);
    this.#send({ type: 'ping', ...(membership && { room: membership.escaped }) });
    const silent = { code: 'silent', text: 'the relay did not answer in time', final: false };
    this.#pingTimer = setTimeout(() => this.#disconnected(silent, LOST), this.options.pingTimeout);
  }

  // Disconnecting.

  /** The connection ended; with `closeCode`, this client gives it up. */
  #disconnected(end, closeCode) {
    const own = this.#own;
    const refusal = this.#refusal;
    const reason = refusal ? { ...end, ...refusal } : end;
    this.#close(closeCode);
    for (const membership of this.#memberships) membership.disconnected(end);
    // `filter` and not `some`: each membership has to forget its unanswered attempt.
    const reclaimed = end.replaced && this.#memberships.filter((membership) => membership.position.reclaim()).length > 0;
    this.#attempt += 1;
    const waits = refusal !== null && own.mayBecomeFree(refusal);
    const final = (end.final && !(end.ofRoom && this.#putOut)) || (end.expired && !this.token.renewable);
    const delay = end.now ? 0 : waits ? this.retryBackoff.next(250) : end.elsewhere || reclaimed ? this.backoff.soon() : this.backoff.next();
    // Before any listener runs: a listener that joins a room must wait for this attempt instead of making its own.
    this.#reconnectTimer = setTimeout(() => this.#connect(), delay);
    if (final && !reclaimed && !waits) {
      const error = new RelayError(reason.code, reason.text);
      if (refusal && !end.unidentified) this.#end(own, error);
      else this.#endAll(error);
    } else if (refusal) {
      // Begin the next connection with another room, if there is one.
      this.#memberships.push(this.#memberships.shift());
    }
    const { code, text } = reason;
    const details = { code, text, delay, attempt: this.#attempt };
    for (const membership of [...this.#memberships]) membership.report('reconnecting', details);
  }

  #close(code) {
    const socket = this.#socket;
    const timers = [this.#welcomeTimer, this.#pingTimer, this.#pauseTimer, this.#reconnectTimer, this.#refreshTimer];
    for (const timer of timers) clearTimeout(timer);
    this.#route.stop();
    this.#pauseTimer = this.#reconnectTimer = 0;
    this.#pinged = this.#welcomed = this.#refreshing = false;
    this.#socket = this.#own = this.#asking = this.#refusal = null;
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

  #end(membership, error, reason) {
    this.#drop(membership);
    membership.end(error, reason);
    if (this.empty) this.#stop(1000);
  }

  #endAll(error) {
    const memberships = this.#memberships;
    for (const membership of memberships) this.#drop(membership);
    this.#stop(1000);
    for (const membership of memberships) membership.end(error);
  }

  /** The page goes into the back/forward cache, where it can have no connection: to the others, it leaves. */
  #leaveWithPage() {
    this.#away = true;
    if (this.#socket) this.#disconnected({ ...endOf(1000, ''), code: 'hidden', final: false }, 1000);
  }

  /** The page is back. Another page of the tab may have used its keys meanwhile, and stored new ones. */
  #restoreAll() {
    this.#away = false;
    for (const membership of this.#memberships) this.#restore(membership);
    if (!this.#socket) this.#connect();
  }

  #drop(membership) {
    if (membership.slot) this.keys.drop(membership.slot);
    this.#memberships = this.#memberships.filter((one) => one !== membership);
  }

  // Helpers.

  /** Send a command. Resolves with the answer, or undefined without one. */
  #request(command) {
    const key = `request-${this.#keys++}`;
    this.#send({ ...command, key });
    return new Promise((resolve) => this.#answers.set(key, resolve));
  }

  #send(command) {
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(command));
  }

  /** The room's name in frames: empty for the connection's own. */
  #label(membership) {
    return membership === this.#own ? '' : membership.escaped;
  }

  /** Timers may be late in a page that was hidden or asleep: these events say when to check. */
  #listen(method) {
    globalThis[method]?.('pagehide', this.#hidden);
    globalThis[method]?.('pageshow', this.#shown);
    for (const [target, events] of [
      [globalThis, ['online']],
      [globalThis.document, ['visibilitychange', 'resume']],
    ]) {
      for (const event of events) target?.[method]?.(event, this.#check);
    }
  }
}
