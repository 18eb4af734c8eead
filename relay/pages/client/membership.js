// One room of a connection: its position, its outbox, and its state. No input or output.

import { RelayError } from './errors.js';
import { base64url } from './ids.js';
import { OwnInfo } from './info.js';
import { escapeName, unescapeName } from './names.js';
import { Outbox } from './outbox.js';
import { Position } from './position.js';

// A client that is refused because of a connected member tries again for this time: the goodbye of that member, such as the
// page before a reload, may be on its way.
const GOODBYE_TIME = 1500;

// Encoded characters of channels that go into the address; more are sent as a command after the welcome. The relay takes
// lines of 8,192 bytes, and room, peer id and info may have 7,200 of them.
const MAX_QUERY = 900;

/**
 * `name` is the text of the room's name, and `escaped` its form in frames; both are null for the relay's default room, until
 * the welcome names it. With `observe`, the client watches the room without being a member. `password` is that of the room,
 * '' for none. `report(event, details)` is called for each event of the room.
 */
export class Membership {
  #refusedSince;

  constructor(
    name, { presence = true, echo = false, channels = null, observe = '', info, password = '', outgoing, window } = {},
    report = () => {},
  ) {
    if (typeof password !== 'string') throw new RelayError('bad_password', 'a password is text');
    this.name = name;
    this.escaped = name === null ? null : escapeName(name);
    this.presence = presence;
    this.echo = echo;
    this.channels = channels && new Set(channels);
    this.observe = observe;
    this.password = password;
    this.report = report;
    this.position = new Position();
    this.outbox = new Outbox({ size: outgoing, window });
    this.info = new OwnInfo(info);
    this.peer = '';
    this.iceServers = [];
    this.joined = false;
    this.joining = false;
    this.closed = undefined;
    this.slot = ''; // where its resume key is stored for the next page; '' if it is not
    this.restoring = false; // waits for the stored key
    this.restored = false; // has the key of the page before this one
    this.#refusedSince = 0;
  }

  /** Use a key that an earlier page has stored; '' for none. */
  restore(key) {
    this.restoring = false;
    if (!key) return;
    this.position.resume = key;
    this.restored = !this.position.known;
  }

  /**
   * Whether a welcome gives this page the membership of the page before it, which has left with its scripts.
   *
   * The others must see that: this page knows nothing of the earlier page's agreements with them.
   */
  succeeds({ resumed, resume }) {
    const succeeds = this.restored && resumed;
    this.restored = false;
    if (succeeds) this.position.resume = resume;
    return succeeds;
  }

  /** Whether a peer id that is taken may become free soon: its member is held, or may be on its way out. */
  mayBecomeFree({ code, held }) {
    if (code !== 'peer_taken') return false;
    const now = Date.now();
    if (held || !this.#refusedSince) this.#refusedSince = now;
    return now - this.#refusedSince < GOODBYE_TIME;
  }

  get path() {
    return this.name === null ? '/' : `/rooms/${encodeURIComponent(this.name)}`;
  }

  /** The subprotocols of a connection whose own room this is: a page can set no header. */
  get protocols() {
    const password = this.password && [`password.${base64url(new TextEncoder().encode(this.password))}`];
    return ['relay.v1', `resume.${this.position.resume}`, ...password];
  }

  /** The query of a connection whose own room this is. */
  query(peer) {
    const query = new URLSearchParams(this.observe ? { observe: this.observe } : { peer });
    if (this.observe) {
      for (const channel of this.channels ?? []) query.append('channel', channel);
      return query;
    }
    if (this.presence) query.set('presence', '1');
    if (this.echo) query.set('echo', '1');
    const info = this.info.offer();
    if (info) query.set('info', info);
    if (this.position.id) query.set('since', this.position.id);
    const channels = this.#queryChannels();
    for (const channel of channels ?? []) query.append('channel', channel);
    return query;
  }

  /** The command that joins this room over an open connection. */
  joinCommand(key) {
    const { escaped: room, presence, echo } = this;
    const since = this.position.id && { since: this.position.id };
    const channels = this.channels && { channels: [...this.channels] };
    const text = this.info.offer();
    const info = text && { info: JSON.parse(text) };
    const password = this.password && { password: this.password };
    const asked = { presence, echo, ...channels, ...info, ...password };
    return { type: 'join', room, key, resume: this.position.resume, ...since, ...asked };
  }

  /** Commands to send after the welcome, for the channels and options that did not fit into the address. */
  afterwards() {
    return this.channels && !this.observe && !this.#queryChannels() ? [{ type: 'subscribe', channels: [...this.channels] }] : [];
  }

  /** A join was sent. */
  startJoining() {
    this.joining = true;
  }

  welcome(frame) {
    this.escaped = frame.room;
    this.name = unescapeName(frame.room);
    this.peer = frame.peer ?? '';
    this.iceServers = frame.iceServers ?? [];
    this.joined = true;
    this.joining = false;
    this.#refusedSince = 0;
    this.outbox.rewind();
    this.info.welcomed();
    this.#reportAll(this.position.welcome(frame));
  }

  /** The relay has renewed the credentials of its TURN servers. */
  renewIce({ iceServers }) {
    this.iceServers = iceServers;
    if (this.joined) this.report('ice', { iceServers });
  }

  receive(frame) {
    this.#reportAll(this.position.receive(frame));
  }

  /** The connection ended. Without a close frame of the relay, a join on its way may still arrive there. */
  disconnected({ closedByRelay = false } = {}) {
    if (this.joining && !closedByRelay) this.position.attemptUnanswered();
    this.joined = this.joining = false;
  }

  /** The error of a client that a frame puts out of the room; undefined for any other frame. */
  putOutBy({ type, peer, reason, about, key, code, text }) {
    const because = reason ? `: ${reason}` : '';
    if (type === 'closed' && !this.observe) return new RelayError('room_closed', `the room was closed${because}`);
    if (type === 'kicked' && peer === this.peer) return new RelayError('kicked', `this client was put out of the room${because}`);
    // Not the answer to `refresh`, which has its key: the newer token does not grant this room.
    return type === 'error' && about === 'refresh' && !key ? new RelayError(code, text) : undefined;
  }

  /** The room is over for this client; `reason` are the words of the member or server that caused it. */
  end(error, reason = '') {
    if (this.closed) return;
    this.closed = error;
    this.joined = this.joining = false;
    this.outbox.fail(error);
    this.info.fail(error);
    this.report('close', { code: error.code, text: error.text, reason });
  }

  #reportAll(events) {
    for (const [name, details] of events) this.report(name, details);
  }

  #queryChannels() {
    const query = new URLSearchParams([...(this.channels ?? [])].map((channel) => ['channel', channel]));
    return String(query).length <= MAX_QUERY ? this.channels : null;
  }
}
