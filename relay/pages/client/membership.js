// One room of a connection: its position, its outbox, and its state. No input or output.

import { OwnInfo } from './info.js';
import { escapeName, unescapeName } from './names.js';
import { Outbox } from './outbox.js';
import { Position } from './position.js';

// Encoded characters of channels that go into the address; more are sent as a command after the welcome. The relay takes
// lines of 8,192 bytes, and room, peer id and info may have 7,200 of them.
const MAX_QUERY = 900;

/**
 * `name` is the text of the room's name, and `escaped` its form in frames; both are null for the relay's default room, until
 * the welcome names it. With `observe`, the client watches the room without being a member. `report(event,
 * details)` is called for each event of the room.
 */
export class Membership {
  constructor(
    name, { presence = true, echo = false, channels = null, observe = '', info, outgoing, window } = {}, report = () => {},
  ) {
    this.name = name;
    this.escaped = name === null ? null : escapeName(name);
    this.presence = presence;
    this.echo = echo;
    this.channels = channels && new Set(channels);
    this.observe = observe;
    this.report = report;
    this.position = new Position();
    this.outbox = new Outbox({ size: outgoing, window });
    this.info = new OwnInfo(info);
    this.peer = '';
    this.iceServers = [];
    this.joined = false;
    this.joining = false;
    this.closed = undefined;
  }

  get path() {
    return this.name === null ? '/' : `/rooms/${encodeURIComponent(this.name)}`;
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
    return { type: 'join', room, key, presence, echo, resume: this.position.resume, ...since, ...channels, ...info };
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
    this.outbox.rewind();
    this.info.welcomed();
    this.#reportAll(this.position.welcome(frame));
  }

  receive(frame) {
    this.#reportAll(this.position.receive(frame));
  }

  /** The connection ended. Without a close frame of the relay, a join on its way may still arrive there. */
  disconnected({ closedByRelay = false } = {}) {
    if (this.joining && !closedByRelay) this.position.attemptUnanswered();
    this.joined = this.joining = false;
  }

  /** The room is over for this client. */
  end(error) {
    if (this.closed) return;
    this.closed = error;
    this.joined = this.joining = false;
    this.outbox.fail(error);
    this.info.fail(error);
    this.report('close', { code: error.code, text: error.text });
  }

  #reportAll(events) {
    for (const [name, details] of events) this.report(name, details);
  }

  #queryChannels() {
    const query = new URLSearchParams([...(this.channels ?? [])].map((channel) => ['channel', channel]));
    return String(query).length <= MAX_QUERY ? this.channels : null;
  }
}
