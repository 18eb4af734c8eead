// This client's position in a room: the newest id that it received, the members, and the keys to resume with. No input or
// output. Methods that take a frame return the events for the user, as [name, details].

import { BEFORE_ALL, isNewer, parseId, randomText } from './ids.js';
import { unescapeName } from './names.js';

// Rules that a frame does not have: relays of other versions may know fewer.
const NO_RULES = { max_members: null, locked: false, password: false, ttl: null, history: true, owner: null };

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
  #welcomed = false;
  #counting = false; // an observer that gets numbers alone

  constructor() {
    this.id = '';
    this.resume = randomText(16);
    this.members = new Set();
    this.infos = new Map();
    this.peer = '';
    this.count = 0;
    this.duplicates = 0;
  }

  /** Whether this client was welcomed before. */
  get known() {
    return this.#welcomed;
  }

  /** The relay accepted this client. */
  welcome(frame) {
    const returning = this.#welcomed;
    const events = [];
    this.#welcomed = true;
    this.#counting = frame.observer === true && !frame.members;
    if (!frame.observer) [this.#usedKey, this.resume] = [this.resume, frame.resume];
    this.peer = frame.peer ?? '';
    if (returning) {
      // Recovered: the missed events follow as ordinary frames, then a frame `recovered`.
      if (!frame.recovered) events.push(...this.#loss(frame), ['resumed', { replayed: 0, recovered: false }]);
    } else {
      events.push(['open', { first: frame.first ?? false }]);
    }
    this.#advance(frame.id);
    if (!frame.recovered && frame.members) {
      const changes = this.#replace(frame);
      if (returning) events.push(...changes);
    }
    if (this.#counting) {
      const changes = this.#recount(frame);
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
        if (this.#counting) return this.#recount(frame);
        if (frame.members) return this.#replace(frame);
        return frame.joined ? this.#change(frame) : [];
      case 'rules':
      case 'kicked':
      case 'closed':
      case 'move':
        // With a key, it is the answer to a command. One that was seen already comes again after a reconnection.
        return frame.key === undefined && this.#advance(frame.id) ? [noticeOf(frame)] : [];
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
    // An observer cannot resume, so its welcome has no reason.
    const { reason = 'not_resumed' } = frame;
    const text = `something was missed and cannot be had (${reason})`;
    return [['error', { code: 'messages_lost', text, reason }]];
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

  #recount({ count }) {
    if (count === undefined || count === this.count) return [];
    this.count = count;
    return [['count', { count }]];
  }

  #change({ id, joined, left, changed = [], info = {} }) {
    this.#advance(id);
    this.count += joined.length - left.length;
    // A peer in both lists left and came back. A changed one that is unknown was not listed, as the room is large.
    return [...this.#leaves(left), ...this.#joins([...joined, ...changed], new Map(Object.entries(info)))];
  }

  /** A member list. The relay shortens long lists, so only a complete one removes members. */
  #replace(frame) {
    const listed = frame.members.map((member) => member.peer);
    this.count = frame.count;
    const absent = listed.length === frame.count ? [...this.members].filter((peer) => !listed.includes(peer)) : [];
    const infos = new Map(frame.members.map((member) => [member.peer, member.info]));
    return [...this.#leaves(absent.sort()), ...this.#joins(listed, infos)];
  }

  #leaves(peers) {
    for (const peer of peers) this.infos.delete(peer);
    return peers.filter((peer) => this.members.delete(peer)).map((peer) => ['leave', { peer }]);
  }

  /** Add members with their infos; those that are known already may have another info now. */
  #joins(peers, infos) {
    const events = [];
    for (const peer of peers) {
      const info = infos.get(peer) ?? undefined;
      const before = this.infos.get(peer);
      if (info) this.infos.set(peer, info);
      else this.infos.delete(peer);
      if (!this.members.has(peer)) {
        this.members.add(peer);
        events.push(['join', info ? { peer, info } : { peer }]);
      } else if (peer !== this.peer && JSON.stringify(info) !== JSON.stringify(before)) {
        events.push(['change', { peer, info }]);
      }
    }
    return events;
  }
}

/** The rules in a frame, each of them. */
export function rulesOf(frame) {
  return { ...NO_RULES, ...frame.rules };
}

/** The event for the user, as [name, details], about something that the relay or another member did with the room. */
function noticeOf(frame) {
  const { type, by = '', peer, reason = '', to } = frame;
  switch (type) {
    case 'rules':
      return [type, { rules: rulesOf(frame), by }];
    case 'kicked':
      return [type, { peer, reason }];
    case 'closed':
      return [type, { reason }];
    default:
      return [type, { to: unescapeName(to) }];
  }
}
