// One room of a connection: its place, its outbox, and what its user is told. No input or output.

import { Outbox } from './outbox.js';
import { Place } from './place.js';

// Longer than this, the channels to hear are told by commands and not in the address.
const MAX_QUERY = 1500;

/**
 * `name` is null for the relay's default room, until the relay has told its name. `tell(event, details)` is called for
 * whatever the user is to know.
 */
export class Seat {
  constructor(name, { presence = true, echo = false, channels = null, outgoing, window } = {}, tell = () => {}) {
    this.name = name;
    this.presence = presence;
    this.echo = echo;
    this.channels = channels && new Set(channels);
    this.tell = tell;
    this.place = new Place();
    this.outbox = new Outbox({ size: outgoing, window });
    this.peer = '';
    this.iceServers = [];
    this.inside = false;
    this.asked = false;
    this.over = undefined;
  }

  get path() {
    return this.name === null ? '/' : `/rooms/${encodeURIComponent(this.name)}`;
  }

  /** What stands in the address of a connection whose own room this is. */
  query(peer) {
    const query = new URLSearchParams({ peer });
    if (this.presence) query.set('presence', '1');
    if (this.echo) query.set('echo', '1');
    if (this.place.id) query.set('since', this.place.id);
    const channels = this.#fitting();
    for (const channel of channels ?? []) query.append('channel', channel);
    return query;
  }

  /** The command that enters this room over a connection that is there. */
  joinCommand(key) {
    const { name: room, presence, echo } = this;
    const since = this.place.id && { since: this.place.id };
    const channels = this.channels && { channels: [...this.channels] };
    return { type: 'join', room, key, presence, echo, resume: this.place.resume, ...since, ...channels };
  }

  /** What is to be said when the place is there and not all could be said in the address. */
  afterwards() {
    return this.channels && !this.#fitting() ? [{ type: 'subscribe', channels: [...this.channels] }] : [];
  }

  /** The relay is being asked for the place. */
  asking() {
    this.asked = true;
  }

  welcome(frame) {
    this.name = frame.room;
    this.peer = frame.peer;
    this.iceServers = frame.iceServers ?? [];
    this.inside = true;
    this.asked = false;
    this.outbox.rewind();
    this.#tellAll(this.place.welcome(frame));
  }

  hear(frame) {
    this.#tellAll(this.place.hear(frame));
  }

  /** The connection is gone; what was asked over it may yet reach the relay, unless the relay said that it is. */
  lose({ said = false } = {}) {
    if (this.asked && !said) this.place.unanswered();
    this.inside = this.asked = false;
  }

  /** This room is over for this client. */
  end(error) {
    if (this.over) return;
    this.over = error;
    this.inside = this.asked = false;
    this.outbox.fail(error);
    this.tell('close', { code: error.code, text: error.text });
  }

  #tellAll(events) {
    for (const [name, details] of events) this.tell(name, details);
  }

  #fitting() {
    return this.channels && [...this.channels].join('').length <= MAX_QUERY ? this.channels : null;
  }
}
