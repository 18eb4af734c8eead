// Resume keys in a page's storage, with a fake storage and fake locks.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { StoredKeys } from '../../../../relay/pages/client/keys.js';
import { FakeSocket, begin, client, end, listen, pass, settle } from './relay.mjs';

class FakeStorage {
  constructor(entries = {}) {
    Object.assign(this, entries);
  }

  getItem(name) {
    return this[name] ?? null;
  }

  setItem(name, text) {
    this[name] = text;
  }

  removeItem(name) {
    delete this[name];
  }

  /** The storage of a new tab that duplicates this one. */
  copy() {
    return new FakeStorage(this);
  }
}

/** The locks of a browser. */
class FakeLocks {
  held = new Map();

  async request(name, { ifAvailable }, callback) {
    await null;
    if (this.held.has(name)) {
      assert.ok(ifAvailable);
      return callback(null);
    }
    const done = Promise.resolve(callback({ name }));
    this.held.set(name, done);
    await done;
    this.held.delete(name);
  }

  /** The pages that hold locks end without an event. */
  crash() {
    this.held.clear();
  }
}

const SLOT = 'a room';
let page;

beforeEach(() => {
  begin();
  page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
});

afterEach(() => {
  end();
  delete globalThis.addEventListener;
  delete globalThis.removeEventListener;
});

const event = (name, persisted) => page.dispatchEvent(Object.assign(new Event(name), { persisted }));
const hide = (persisted = false) => event('pagehide', persisted);
const show = (persisted = false) => event('pageshow', persisted);

test('the next page takes the newest key, once', () => {
  const storage = new FakeStorage({ other: 'of the page' });
  let key = 'one';
  assert.equal(new StoredKeys(storage, undefined).take(SLOT, () => key), '');
  key = 'two';
  assert.deepEqual(Object.keys(storage), ['other']);
  hide();
  const copy = storage.copy();
  assert.equal(new StoredKeys(storage, undefined).take(SLOT, () => 'three'), 'two');
  assert.deepEqual(Object.keys(storage), ['other']);
  assert.equal(new StoredKeys(copy, undefined).take('another room', () => ''), '');
});

test('a key that is stored while its page runs is for no other page, until the page has crashed', async () => {
  const [storage, locks] = [new FakeStorage(), new FakeLocks()];
  let key = 'one';
  const keys = new StoredKeys(storage, locks);
  keys.take(SLOT, () => key);
  await settle();
  key = 'two';
  keys.changed(SLOT);
  const [before, after] = [storage.copy(), storage.copy()];
  assert.equal(await new StoredKeys(before, locks).take(SLOT, () => 'of a duplicate'), '');
  await settle();
  assert.equal(locks.held.size, 2);
  locks.crash();
  assert.equal(await new StoredKeys(after, locks).take(SLOT, () => ''), 'two');
});

test('a key that was written when the page was hidden needs no lock, which the page may hold a moment longer', async () => {
  const [storage, locks] = [new FakeStorage(), new FakeLocks()];
  new StoredKeys(storage, locks).take(SLOT, () => 'one');
  await settle();
  hide();
  assert.equal(new StoredKeys(storage, { request: () => new Promise(() => {}) }).take(SLOT, () => ''), 'one');
});

test('a lock that is granted after the page was hidden is released', async () => {
  const storage = new FakeStorage();
  let grant;
  new StoredKeys(storage, { request: (name, options, callback) => { grant = callback; } }).take(SLOT, () => 'one');
  hide();
  assert.equal(grant({}), undefined);
  assert.equal(new StoredKeys(storage, undefined).take(SLOT, () => ''), 'one');
});

test('nothing remains of a membership that is over, nor its lock', async () => {
  const [storage, locks] = [new FakeStorage(), new FakeLocks()];
  const keys = new StoredKeys(storage, locks);
  keys.take(SLOT, () => 'one');
  await settle();
  assert.equal(Object.keys(storage).length, 1);
  keys.drop(SLOT);
  keys.drop(SLOT);
  await settle();
  assert.deepEqual([Object.keys(storage), locks.held.size], [[], 0]);
  hide();
  keys.changed(SLOT);
  assert.deepEqual(Object.keys(storage), []);
});

test('old keys, and entries that are none, are removed', () => {
  const storage = new FakeStorage();
  const keys = new StoredKeys(storage, undefined);
  keys.take(SLOT, () => 'one');
  hide();
  const [name] = Object.keys(storage);
  for (const text of ['', '{', '5', 'null', '{"key":7,"at":1}', storage[name].replace(/"at":\d+/, '"at":1')]) {
    const broken = new FakeStorage({ [name]: text, other: text });
    assert.equal(new StoredKeys(broken, undefined).take('another', () => ''), '');
    assert.deepEqual(Object.keys(broken), ['other']);
  }
});

test('storage and locks that throw are no obstacle', async () => {
  const fail = () => { throw new Error('forbidden'); };
  const storage = { getItem: fail, setItem: fail, removeItem: fail };
  for (const locks of [undefined, { request: fail }, { request: () => Promise.reject(new Error('forbidden')) }]) {
    const keys = new StoredKeys(storage, locks);
    assert.equal(keys.take(SLOT, () => 'one'), '');
    hide();
    keys.drop(SLOT);
    assert.equal(new StoredKeys(null, locks).take(SLOT, () => 'one'), '');
    const marked = new FakeStorage({ [`relay.js ${SLOT}`]: JSON.stringify({ key: 'k', at: Date.now(), lock: 'l' }) });
    assert.equal(await new StoredKeys(marked, locks).take(SLOT, () => 'one'), '');
  }
  await settle();
});

test('a page resumes the membership of the page before it, leaves, and joins again before it reports anything', async () => {
  const storage = new FakeStorage();
  client('ws://relay', { storage }).join('r');
  FakeSocket.last.welcome();
  hide();
  const room = client('ws://relay', { storage }).join('r');
  const events = listen(room);
  const { last } = FakeSocket;
  assert.equal(last.resume, 'key-1');
  last.welcome({ resumed: true });
  last.say({ from: 'a', id: '1-7', message: 'to the page before' });
  const [leave] = last.frames('leave');
  assert.equal(leave.room, 'r');
  assert.equal(last.frames('join').length, 0);
  last.say({ type: 'left', key: leave.key });
  await settle();
  const [join] = last.frames('join');
  assert.deepEqual([join.resume, join.since, join.presence], ['key-2', undefined, true]);
  assert.deepEqual(events, []);
  last.say({ type: 'welcome', peer: 'me', room: 'r', id: '1-9', resumed: false, first: false, resume: 'key-3', key: join.key });
  last.say({ from: 'a', id: '1-10', message: 'to this one' });
  assert.deepEqual(events, [['open', false], ['message', 'to this one']]);
  hide();
  assert.match(Object.values(storage)[0], /key-3/);
});

test('a page whose predecessor has left joins at once; rooms, peers and relays have keys of their own', () => {
  const storage = new FakeStorage();
  const relay = client(['ws://one', 'ws://two'], { storage });
  const rooms = [relay.join('r'), relay.join('r', { peer: 'other' })];
  for (const socket of FakeSocket.made) socket.welcome();
  hide();
  const [mine, others] = [client(['ws://two', 'ws://one'], { storage }), client('ws://one', { storage })];
  const room = mine.join('r');
  assert.equal(FakeSocket.last.resume, rooms[0].peer === 'me' ? 'key-2' : undefined);
  FakeSocket.last.welcome({ resumed: false });
  assert.equal(room.connected, true);
  mine.join('r', { peer: 'other' });
  assert.equal(FakeSocket.last.resume, 'key-2');
  for (const [where, name, peer] of [[others, 'r', 'me'], [mine, 'R', 'me'], [mine, 'r', 'ME']]) {
    where.join(name, { peer });
    assert.doesNotMatch(FakeSocket.last.resume, /^key-/);
  }
});

test('a page without a peer id of its own stores nothing', () => {
  const storage = new FakeStorage();
  client('ws://relay', { storage, peer: undefined }).join('r');
  FakeSocket.last.welcome();
  hide();
  assert.deepEqual(Object.keys(storage), []);
});

test('in the back/forward cache a page has no connection; it returns with the key that another page of the tab stored', () => {
  const storage = new FakeStorage();
  const room = client('ws://relay', { storage }).join('r');
  const events = listen(room);
  FakeSocket.last.welcome();
  hide(true);
  assert.equal(FakeSocket.last.closed, 1000);
  assert.deepEqual(events.at(-1), ['reconnecting', 'hidden']);
  pass(60_000);
  assert.equal(FakeSocket.made.length, 1);
  for (const name of Object.keys(storage)) storage[name] = storage[name].replace('key-1', 'newer');
  show(true);
  assert.equal(FakeSocket.made.length, 2);
  assert.deepEqual([FakeSocket.last.resume, FakeSocket.last.url.searchParams.get('since')], ['newer', '1-1']);
  FakeSocket.last.welcome({ recovered: false, reason: 'not_resumed' });
  assert.deepEqual(events.slice(-2), [['error', 'messages_lost'], ['resumed', false]]);
});

test('rooms whose stored key is not known yet do not keep the others of the connection waiting', async () => {
  const [storage, locks] = [new FakeStorage(), new FakeLocks()];
  const before = client('ws://relay', { storage });
  before.join('r');
  hide();
  for (const name of Object.keys(storage)) storage[name] = storage[name].replace('}', ',"lock":"free"}');
  const navigator = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { value: { locks }, configurable: true });
  try {
    const relay = client('ws://relay', { storage });
    const [r, s] = [relay.join('r'), relay.join('s')];
    assert.equal(FakeSocket.last.url.pathname, '/rooms/s');
    FakeSocket.last.welcome();
    assert.deepEqual(FakeSocket.last.frames('join'), []);
    await settle();
    assert.deepEqual(FakeSocket.last.frames('join').map(({ room }) => room), ['r']);
    assert.deepEqual([r.closed, s.connected], [undefined, true]);
  } finally {
    if (navigator) Object.defineProperty(globalThis, 'navigator', navigator);
    else delete globalThis.navigator;
  }
});
