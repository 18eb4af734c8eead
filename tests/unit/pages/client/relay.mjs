// A fake relay whose frames the tests write, and a fake clock.
import { mock } from 'node:test';

import { escapeName } from '../../../../relay/pages/client/names.js';
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

  // The relay’s side.

  say(frame) {
    this.readyState = 1;
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }

  welcome(more = {}) {
    const room = escapeName(decodeURIComponent(this.url.pathname.split('/rooms/')[1] ?? 'default'));
    const peer = escapeName(this.url.searchParams.get('peer'));
    this.say({ type: 'welcome', peer, room, id: '1-1', resumed: false, first: true, resume: `key-${FakeSocket.made.length}`, ...more });
  }

  end(code, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** Fail to connect; like the socket of the package `ws`, this throws if nobody listens to `error`. */
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

/** A client of the fake relay, with the greatest jitter. */
export function client(url = 'ws://relay', options = {}) {
  return new Relay(url, { WebSocket: FakeSocket, random: () => 1, peer: 'me', transports: ['websocket'], ...options });
}

export function begin() {
  FakeSocket.made = [];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e12 });
}

export function end() {
  mock.timers.reset();
}

export const pass = (time) => mock.timers.tick(time);

/** Run all callbacks that are ready. */
export const settle = () => new Promise(setImmediate);

/** Collect the events of a room, as [name, detail]. */
export function listen(room) {
  const events = [];
  for (const name of ['message', 'join', 'leave', 'open', 'reconnecting', 'resumed', 'error', 'close']) {
    room.on(name, (event) => events.push([name, event.peer ?? event.code ?? event.message ?? event.recovered ?? event.first]));
  }
  return events;
}
