// This client's position in a room: the newest id that it received, the members, and the keys to resume with. No input or
// output. Methods that take a frame return the events for the user, as [name, details].

import { BEFORE_ALL, isNewer, parseId, randomText } from './ids.js';

/**
 * `id` is the newest id that was received, `resume` the key with which to resume.
 *
 * The client chooses the first key itself. If the first welcome is lost, the relay already knows this key, so the client
 * can still prove that the membership is its own.
 */
export class Position {
  #id = BEFORE_ALL;
  #usedKey = ''; // the key that the last welcomed attempt offered
  #unansweredKey = ''; // the key of an attempt without an answer

  constructor() {
    this.id = '';
    this.resume = randomText(16);
    this.members = new Set();
    this.duplicates = 0;
  }

  /** The relay accepted this client. */
  welcome(frame) {
    const returning = this.id !== '';
    const events = [];
    [this.#usedKey, this.resume] = [this.resume, frame.resume];
    if (returning) {
      // Recovered: the missed events follow as ordinary frames, then a frame `recovered`.
      if (!frame.recovered) events.push(...this.#loss(frame), ['resumed', { replayed: 0, recovered: false }]);
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

  /** An attempt to resume got no answer. It may still reach the relay, late, and take over the membership. */
  attemptUnanswered() {
    this.#unansweredKey = this.resume;
  }

  /**
   * Return whether a late attempt of this client itself took over the membership; then go back to the key of that attempt.
   *
   * The late attempt made the relay forget the key of the newer welcome: it knows only the key that the attempt offered.
   */
  reclaim() {
    const own = this.#unansweredKey !== '' && this.#unansweredKey === this.#usedKey;
    if (own) this.resume = this.#usedKey;
    this.#unansweredKey = '';
    return own;
  }

  /** The relay sent a frame. */
  receive(frame) {
    switch (frame.type) {
      case undefined:
        return this.#envelope(frame);
      case 'presence':
        return frame.members ? this.#replace(frame) : this.#change(frame);
      case 'recovered':
        this.#advance(frame.id);
        return [['resumed', { replayed: frame.replayed, recovered: true }]];
      case 'error':
        return frame.code === 'messages_lost' ? this.#loss(frame) : [];
      case 'ack':
      case 'pong':
        this.#advance(frame.id);
    }
    return [];
  }

  /** Events before `frame.id` are lost. Take the id as it is: in a new epoch, it may be smaller than the old one. */
  #loss(frame) {
    this.#id = parseId(frame.id) ?? this.#id;
    this.id = this.#id.join('-');
    const text = `something was missed and cannot be had (${frame.reason})`;
    return [['error', { code: 'messages_lost', text, reason: frame.reason }]];
  }

  /** Move to this id; return false if it is not newer. */
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
    // A peer in both lists left and came back.
    return [...this.#leaves(frame.left), ...this.#joins(frame.joined)];
  }

  /** A member list. The relay shortens long lists, so only a complete one removes members. */
  #replace(frame) {
    const listed = frame.members.map((member) => member.peer);
    const absent = listed.length === frame.count ? [...this.members].filter((peer) => !listed.includes(peer)) : [];
    return [...this.#leaves(absent.sort()), ...this.#joins(listed)];
  }

  #leaves(peers) {
    return peers.filter((peer) => this.members.delete(peer)).map((peer) => ['leave', { peer }]);
  }

  #joins(peers) {
    const fresh = peers.filter((peer) => !this.members.has(peer));
    for (const peer of fresh) this.members.add(peer);
    return fresh.map((peer) => ['join', { peer }]);
  }
}
