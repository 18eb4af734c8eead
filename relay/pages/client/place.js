// Where this client is in its room: what it was told, who is there, and what it has to say to come back. No input or
// output. Every method that hears something returns events, as [name, details].

import { BEFORE_ALL, isNewer, parseId, randomText } from './ids.js';

/**
 * `id` is the newest id that was told, `resume` the key to come back with. The first key is this client's own, so that
 * a first welcome that got lost is no harm: it is good for a place that was given to whoever offered it.
 */
export class Place {
  #id = BEFORE_ALL;
  #cameWith = '';
  #unanswered = '';

  constructor() {
    this.id = '';
    this.resume = randomText(16);
    this.members = new Set();
    this.duplicates = 0;
  }

  /** The relay let this client in. */
  welcome(frame) {
    const returning = this.id !== '';
    const events = [];
    [this.#cameWith, this.resume] = [this.resume, frame.resume];
    if (returning) {
      // What was missed, if it can be had, follows; then comes `recovered`.
      if (!frame.recovered) events.push(...this.#lose(frame), ['resumed', { replayed: 0, recovered: false }]);
    } else {
      events.push(['open', { first: frame.first }]);
    }
    this.#advance(frame.id);
    if (!frame.recovered && frame.members) {
      const changes = this.#replace(frame);
      if (returning) events.push(...changes);
    }
    return events;
  }

  /** An attempt to come back had no answer; it may reach the relay late, and take the place over. */
  unanswered() {
    this.#unanswered = this.resume;
  }

  /**
   * Whether it was such an attempt that took the place over, so that it is this client's still.
   *
   * The relay then knows the key that the attempt was made with, and not the one it gave afterwards.
   */
  takeBack() {
    const own = this.#unanswered !== '' && this.#unanswered === this.#cameWith;
    if (own) this.resume = this.#cameWith;
    this.#unanswered = '';
    return own;
  }

  /** The relay said something that answers nothing. */
  hear(frame) {
    switch (frame.type) {
      case undefined:
        return this.#envelope(frame);
      case 'presence':
        return frame.members ? this.#replace(frame) : this.#change(frame);
      case 'recovered':
        this.#advance(frame.id);
        return [['resumed', { replayed: frame.replayed, recovered: true }]];
      case 'error':
        return frame.code === 'messages_lost' ? this.#lose(frame) : [];
      case 'ack':
      case 'pong':
        this.#advance(frame.id);
    }
    return [];
  }

  /** What lies between the place and the one that is told now cannot be had; a new epoch may begin anywhere. */
  #lose(frame) {
    this.#id = parseId(frame.id) ?? this.#id;
    this.id = this.#id.join('-');
    const text = `something was missed and cannot be had (${frame.reason})`;
    return [['error', { code: 'messages_lost', text, reason: frame.reason }]];
  }

  /** Whether this id is news. */
  #advance(text) {
    const id = parseId(text);
    if (!id || !isNewer(id, this.#id)) return false;
    this.#id = id;
    this.id = text;
    return true;
  }

  #envelope(frame) {
    if (!this.#advance(frame.id)) {
      this.duplicates += 1;
      return [];
    }
    const { id, from, message, channel, sender, to } = frame;
    return [['message', { id, from, message, channel, sender, to, envelope: frame }]];
  }

  #change(frame) {
    this.#advance(frame.id);
    // Who is in both lists left and came back.
    return [...this.#gone(frame.left), ...this.#come(frame.joined)];
  }

  /** A member list; one that was cut short takes nobody away. */
  #replace(frame) {
    const listed = frame.members.map((member) => member.peer);
    const absent = listed.length === frame.count ? [...this.members].filter((peer) => !listed.includes(peer)) : [];
    return [...this.#gone(absent.sort()), ...this.#come(listed)];
  }

  #gone(peers) {
    return peers.filter((peer) => this.members.delete(peer)).map((peer) => ['leave', { peer }]);
  }

  #come(peers) {
    const fresh = peers.filter((peer) => !this.members.has(peer));
    for (const peer of fresh) this.members.add(peer);
    return fresh.map((peer) => ['join', { peer }]);
  }
}
