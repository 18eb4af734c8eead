// A relay that says what it is told to, and the time, which passes when it is told to.
import { mock } from 'node:test';

import { Relay } from '../../../../relay/pages/client/relay.js';

export class FakeSocket {
  static made = [];

  static get last() {
    return FakeSocket.made.at(-1);
  }

  constructor(url, protocols) {
    Object.assign(this, { url: new URL(url), protocols, readyState: 0, sent: [], closed: undefined });
    FakeSocket.made.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.readyState = 3;
    this.closed = code;
  }

  // What the relay does.

  say(frame) {
    this.readyState = 1;
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }

  welcome(more = {}) {
    const room = decodeURIComponent(this.url.pathname.split('/rooms/')[1] ?? 'default');
    const peer = this.url.searchParams.get('peer');
    this.say({ type: 'welcome', peer, room, id: '1-1', resumed: false, first: true, resume: `key-${FakeSocket.made.length}`, ...more });
  }

  end(code, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** It could not connect; like that of the package `ws`, it throws if nobody listens. */
  fail() {
    this.onerror({ type: 'error' });
    this.end(1006);
  }

  get resume() {
    return this.protocols[1].slice('resume.'.length);
  }

  frames(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

/** A client of it; jitter always draws the most. */
export function client(url = 'ws://relay', options = {}) {
  return new Relay(url, { WebSocket: FakeSocket, random: () => 1, peer: 'me', ...options });
}

export function begin() {
  FakeSocket.made = [];
  mock.timers.enable({ apis: ['setTimeout'] });
}

export function end() {
  mock.timers.reset();
}

export const pass = (time) => mock.timers.tick(time);

/** Let everything that was resolved go on. */
export const settle = () => new Promise(setImmediate);

/** Everything that a room tells, as [name, detail]. */
export function listen(room) {
  const events = [];
  for (const name of ['message', 'join', 'leave', 'open', 'reconnecting', 'resumed', 'error', 'close']) {
    room.on(name, (event) => events.push([name, event.peer ?? event.code ?? event.message ?? event.recovered ?? event.first]));
  }
  return events;
}
