// A connection that carries rooms, over a relay that says what it is told to.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, listen, pass, settle } from './relay.mjs';

beforeEach(begin);
afterEach(end);

test('it comes back with its place and key, and sends again what was not acknowledged', async () => {
  const room = client().join('r', { channels: ['a b'] });
  const events = listen(room);
  const sent = room.send('x');
  FakeSocket.last.welcome();
  FakeSocket.last.say({ from: 'a', id: '1-7', message: 'one' });
  const [first] = FakeSocket.last.frames('publish');
  FakeSocket.last.end(1006);
  pass(250);
  const { last } = FakeSocket;
  assert.equal(last.resume, 'key-1');
  assert.deepEqual(Object.fromEntries(last.url.searchParams), { peer: 'me', presence: '1', since: '1-7', channel: 'a b' });
  last.welcome({ id: '1-7', recovered: true });
  last.say({ from: 'a', id: '1-8', message: 'two' });
  last.say({ type: 'recovered', id: '1-9', replayed: 1 });
  const [again] = last.frames('publish');
  assert.deepEqual(again, first);
  last.say({ type: 'ack', key: again.key, id: '1-10' });
  assert.equal((await sent).id, '1-10');
  assert.deepEqual(events, [['open', true], ['message', 'one'], ['reconnecting', 'lost'], ['message', 'two'], ['resumed', true]]);
  assert.deepEqual([room.id, room.resent, room.duplicates, room.peer], ['1-10', 1, 0, 'me']);
});

test('a first welcome that got lost is asked for with the same key and peer', () => {
  client().join('r');
  const { last: first } = FakeSocket;
  first.end(1006);
  pass(250);
  assert.notEqual(FakeSocket.last, first);
  assert.equal(FakeSocket.last.resume, first.resume);
  assert.equal(FakeSocket.last.url.href, first.url.href);
});

test('waits grow with every failure up to a bound, and begin anew after a welcome; each tries the next address', () => {
  const room = client(['ws://one', 'wss://two/path/']).join('r');
  const delays = [];
  room.on('reconnecting', ({ delay }) => delays.push(delay));
  for (let attempt = 0; attempt < 8; attempt++) {
    FakeSocket.last.end(1006);
    pass(delays.at(-1));
  }
  assert.deepEqual(delays, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  assert.deepEqual(FakeSocket.made.slice(0, 3).map(({ url }) => url.origin + url.pathname), ['ws://one/rooms/r', 'wss://two/path/rooms/r', 'ws://one/rooms/r']);
  FakeSocket.last.welcome();
  FakeSocket.last.end(4000, 'slow');
  assert.equal(delays.at(-1), 250);
});

test('one that is sent elsewhere comes back soon', () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  for (let round = 0; round < 3; round++) {
    let delay;
    room.on('reconnecting', (event) => { delay = event.delay; }, { once: true });
    FakeSocket.last.end(1001);
    assert.equal(delay, 500);
    pass(delay);
  }
});

for (const [code, name] of [[4500, 'replaced'], [4502, 'bad_request'], [1009, 'too_large'], [1000, 'normal']]) {
  test(`a close with ${code} is the end of everything`, async () => {
    const relay = client();
    const room = relay.join('r');
    FakeSocket.last.welcome();
    const sent = room.send('x');
    FakeSocket.last.end(code, name);
    await assert.rejects(sent, { code: name });
    await assert.rejects(room.send('y'), { code: name });
    pass(60_000);
    assert.equal(FakeSocket.made.length, 1);
    assert.equal(room.closed.code, name);
    assert.deepEqual(relay.rooms, []);
  });
}

test('a refused join says why, and is final or not as its close code says', async () => {
  const room = client().join('r');
  FakeSocket.last.say({ type: 'error', code: 'peer_taken', text: 'in use', about: 'join', room: 'r' });
  FakeSocket.last.end(4501, 'peer_taken');
  await assert.rejects(room.ready, { code: 'peer_taken', text: 'in use' });
  const other = client().join('r');
  const events = listen(other);
  FakeSocket.last.say({ type: 'error', code: 'room_full', text: 'full', about: 'join', room: 'r' });
  FakeSocket.last.end(4004, 'room_full');
  assert.deepEqual(events, [['reconnecting', 'room_full']]);
  pass(250);
  FakeSocket.last.welcome();
  assert.deepEqual(events.at(-1), ['open', true]);
});

test('a place that its own late attempt took over is taken back, with the key of that attempt', () => {
  const room = client().join('r');
  const events = listen(room);
  FakeSocket.last.welcome();
  FakeSocket.last.end(1006);
  pass(250); // An attempt without an answer: it is late.
  FakeSocket.last.end(1006);
  pass(500);
  FakeSocket.last.welcome({ recovered: true });
  FakeSocket.last.end(4500, 'replaced');
  assert.equal(room.closed, undefined);
  pass(500);
  assert.equal(FakeSocket.made.length, 4);
  assert.equal(FakeSocket.last.resume, 'key-1');
  FakeSocket.last.welcome({ recovered: true });
  FakeSocket.last.end(4500, 'replaced');
  assert.deepEqual(events.at(-1), ['close', 'replaced']);
});

test('who hears nothing asks, and connects anew without an answer, with a code that is no goodbye', () => {
  client().join('r');
  const { last: first } = FakeSocket;
  first.welcome();
  pass(9000);
  first.say({ type: 'ack', key: 'x', id: '1-2' });
  pass(1000);
  assert.equal(first.frames('ping').length, 0);
  pass(10_000);
  assert.equal(first.frames('ping').length, 1);
  first.say({ type: 'pong', id: '1-2' });
  pass(10_000);
  assert.equal(first.frames('ping').length, 2);
  pass(5000);
  assert.equal(first.closed, 4001);
  pass(250);
  assert.equal(FakeSocket.made.length, 2);
});

test('a connection that never opens, or never welcomes, is given up', () => {
  client().join('r');
  pass(10_000);
  assert.equal(FakeSocket.made[0].closed, 4001);
  pass(250);
  assert.equal(FakeSocket.made.length, 2);
});

test('a connection that fails is a connection that ends, before and after it is left', async () => {
  const room = client().join('r');
  const events = listen(room);
  FakeSocket.last.fail();
  assert.deepEqual(events, [['reconnecting', 'lost']]);
  pass(250);
  await room.leave();
  FakeSocket.last.fail();
  pass(60_000);
  assert.equal(FakeSocket.made.length, 2);
});

test('a change of network is looked into at once', () => {
  const target = new EventTarget();
  globalThis.addEventListener = target.addEventListener.bind(target);
  globalThis.removeEventListener = target.removeEventListener.bind(target);
  try {
    const room = client().join('r');
    FakeSocket.last.welcome();
    target.dispatchEvent(new Event('online'));
    target.dispatchEvent(new Event('online'));
    assert.equal(FakeSocket.last.frames('ping').length, 1);
    FakeSocket.last.end(1006);
    target.dispatchEvent(new Event('online'));
    assert.equal(FakeSocket.made.length, 2);
    pass(10_000);
    FakeSocket.last.end(4502);
    assert.equal(room.closed, undefined);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test('several rooms share a connection; each is joined by a command and returns by one', () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two', { presence: false })];
  const events = listen(two);
  const { last: first } = FakeSocket;
  assert.equal(FakeSocket.made.length, 1);
  first.welcome();
  const [join] = first.frames('join');
  assert.deepEqual([join.room, join.presence, join.since], ['two', false, undefined]);
  first.say({ type: 'welcome', peer: 'me', room: 'two', id: '2-1', resume: 'key-two', first: false, key: join.key });
  first.say({ from: 'a', id: '2-2', room: 'two', message: 'for two' });
  first.say({ from: 'a', id: '1-2', message: 'for one' });
  assert.deepEqual(events, [['open', false], ['message', 'for two']]);
  two.send('x');
  const [frame] = first.frames('publish');
  assert.equal(frame.room, 'two');
  // Errors may name no room: their key does.
  first.say({ type: 'error', code: 'unavailable', text: '', about: 'envelope', key: frame.key });
  assert.equal(first.frames('publish').length, 1);
  pass(100);
  assert.equal(first.frames('publish').length, 2);
  first.end(1006);
  pass(250);
  FakeSocket.last.welcome({ recovered: true });
  const [again] = FakeSocket.last.frames('join');
  assert.deepEqual([again.room, again.since, again.resume], ['two', '2-2', 'key-two']);
  assert.equal(one.connected, true);
  assert.equal(two.connected, false);
});

test('a room that cannot be joined leaves the others alone', async () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  FakeSocket.last.welcome();
  const [{ key }] = FakeSocket.last.frames('join');
  FakeSocket.last.say({ type: 'error', code: 'peer_taken', text: 'in use', about: 'join', room: 'two', key });
  await assert.rejects(two.ready, { code: 'peer_taken' });
  const three = relay.join('three');
  const busy = FakeSocket.last.frames('join').at(-1);
  FakeSocket.last.say({ type: 'error', code: 'unavailable', text: 'later', about: 'join', key: busy.key });
  pass(300);
  assert.equal(FakeSocket.last.frames('join').at(-1).room, 'three');
  assert.equal(FakeSocket.last.frames('join').length, 3);
  assert.deepEqual([one.closed, three.closed], [undefined, undefined]);
});

test('a connection whose own room is refused goes on with the other rooms', async () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  FakeSocket.last.say({ type: 'error', code: 'peer_taken', text: 'in use', about: 'join', room: 'one' });
  FakeSocket.last.end(4501, 'peer_taken');
  await assert.rejects(one.ready, { code: 'peer_taken' });
  pass(250);
  assert.equal(FakeSocket.last.url.pathname, '/rooms/two');
  FakeSocket.last.welcome();
  assert.equal((await two.ready).name, 'two');
});

test('a connection whose own room is full lets another room go first', () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  FakeSocket.last.say({ type: 'error', code: 'room_full', text: 'full', about: 'join', room: 'one' });
  FakeSocket.last.end(4004, 'room_full');
  pass(250);
  assert.equal(FakeSocket.last.url.pathname, '/rooms/two');
  FakeSocket.last.welcome();
  const [{ room, key }] = FakeSocket.last.frames('join');
  assert.equal(room, 'one');
  FakeSocket.last.say({ type: 'error', code: 'room_full', text: 'full', about: 'join', room: 'one', key });
  assert.deepEqual([one.closed, two.connected], [undefined, true]);
});

test('an attempt that the relay has refused cannot arrive late', () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  FakeSocket.last.end(1006);
  pass(250);
  FakeSocket.last.end(4003, 'unavailable');
  pass(500);
  FakeSocket.last.welcome({ recovered: true });
  FakeSocket.last.end(4500, 'replaced');
  assert.equal(room.closed.code, 'replaced');
});

test('who drops the connection when told of it loses no other room', () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  one.on('open', () => relay.drop());
  FakeSocket.last.welcome();
  assert.equal(FakeSocket.last.closed, 4001);
  pass(250);
  FakeSocket.last.welcome({ recovered: true });
  assert.deepEqual(FakeSocket.last.frames('join').map(({ room }) => room), ['two']);
  assert.deepEqual([one.connected, two.closed], [true, undefined]);
});

test('a room that is entered as another is refused waits for the next connection, of which there is one', () => {
  const relay = client();
  const [one] = [relay.join('one'), relay.join('two')];
  one.on('close', () => relay.join('three'));
  FakeSocket.last.say({ type: 'error', code: 'peer_taken', text: 'in use', about: 'join', room: 'one' });
  FakeSocket.last.end(4501, 'peer_taken');
  pass(250);
  assert.equal(FakeSocket.made.length, 2);
  FakeSocket.last.welcome();
  assert.deepEqual(FakeSocket.last.frames('join').map(({ room }) => room), ['three']);
});

test('leaving waits for what is on its way, says goodbye, and closes when nobody is left', async () => {
  const relay = client();
  const room = relay.join('r');
  FakeSocket.last.welcome();
  const sent = room.send('x');
  const left = room.leave();
  assert.equal(FakeSocket.last.frames('leave').length, 0);
  const [{ key }] = FakeSocket.last.frames('publish');
  FakeSocket.last.say({ type: 'ack', key, id: '1-2' });
  await sent;
  await settle();
  const [leave] = FakeSocket.last.frames('leave');
  FakeSocket.last.say({ type: 'left', key: leave.key });
  await left;
  assert.equal(FakeSocket.last.closed, 1000);
  assert.equal(room.closed.code, 'left');
});

test('a room that is left before its connection is there holds up no other', async () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  const { last: first } = FakeSocket;
  await one.leave();
  assert.equal(first.closed, 1000);
  assert.equal(FakeSocket.made.length, 2);
  assert.equal(FakeSocket.last.url.pathname, '/rooms/two');
  FakeSocket.last.welcome();
  assert.equal(two.connected, true);
});

test('a room that is left while it is being joined is left at the relay as well', async () => {
  const relay = client();
  const two = (relay.join('one'), relay.join('two'));
  const events = listen(two);
  FakeSocket.last.welcome();
  const left = two.leave();
  await settle();
  const [{ key }] = FakeSocket.last.frames('join');
  const [goodbye] = FakeSocket.last.frames('leave');
  assert.equal(goodbye.room, 'two');
  pass(2000);
  await left;
  // Too late to be of interest.
  FakeSocket.last.say({ type: 'welcome', peer: 'me', room: 'two', id: '2-1', resume: 'key-two', first: false, key });
  FakeSocket.last.say({ type: 'left', room: 'two', key: goodbye.key });
  assert.deepEqual(events, [['close', 'left']]);
});

test('leaving without a relay takes no longer than it may', async () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  const sent = room.send('x');
  const left = room.leave();
  pass(2000);
  await settle();
  pass(2000);
  await left;
  await assert.rejects(sent, { code: 'left' });
});

test('whoever is no relay is left alone', async () => {
  const room = client().join('r');
  FakeSocket.last.say('hello');
  await assert.rejects(room.ready, { code: 'protocol_error' });
});

test('a token goes as a subprotocol, never in the address', () => {
  client('https://relay', { token: 'abc.def' }).join('r');
  assert.deepEqual(FakeSocket.last.protocols.slice(0, 1).concat(FakeSocket.last.protocols.slice(2)), ['relay.v1', 'token.abc.def']);
  assert.equal(FakeSocket.last.url.href, 'wss://relay/rooms/r?peer=me&presence=1');
  assert.throws(() => client('ws://relay', { token: 'a b' }).join('r'), { code: 'bad_token' });
});

test('a client that works goes on after a frame that it cannot read, and reports it', () => {
  const room = client().join('r');
  const events = listen(room);
  FakeSocket.last.welcome();
  FakeSocket.last.say('{"from":"a","id":"1-2","message":');
  FakeSocket.last.say({ from: 'a', id: '1-3', message: 'next' });
  assert.deepEqual(events, [['open', true], ['error', 'unreadable'], ['message', 'next']]);
  assert.equal(FakeSocket.made.length, 1);
  assert.equal(room.closed, undefined);
});
