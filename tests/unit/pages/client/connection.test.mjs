// Connections, over a relay whose frames the tests write.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, listen, pass, settle } from './relay.mjs';

/** The relay refuses the own room of the newest connection, and closes it. */
function refuse(error, code) {
  FakeSocket.last.say({ type: 'error', about: 'join', text: '', ...error });
  FakeSocket.last.end(code, error.code);
}

beforeEach(begin);
afterEach(end);

test('a lost connection is resumed with position and key, and unacknowledged envelopes are sent again', async () => {
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

test('after a lost first welcome the client joins again with the same key and peer', () => {
  client().join('r');
  const { last: first } = FakeSocket;
  first.end(1006);
  pass(250);
  assert.notEqual(FakeSocket.last, first);
  assert.equal(FakeSocket.last.resume, first.resume);
  assert.equal(FakeSocket.last.url.href, first.url.href);
});

test('delays double up to a bound and restart after a welcome; each attempt uses the next address', () => {
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

test('after close code 1001 the client reconnects soon', () => {
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

test('a refused join has the reason of the error, and the close code decides whether it is final', async () => {
  const room = client().join('r');
  refuse({ code: 'bad_room', text: 'no such name' }, 4502);
  await assert.rejects(room.ready, { code: 'bad_room', text: 'no such name' });
  const other = client().join('r');
  const events = listen(other);
  FakeSocket.last.say({ type: 'error', code: 'room_full', text: 'full', about: 'join', room: 'r' });
  FakeSocket.last.end(4004, 'room_full');
  assert.deepEqual(events, [['reconnecting', 'room_full']]);
  pass(250);
  FakeSocket.last.welcome();
  assert.deepEqual(events.at(-1), ['open', true]);
});

test('a peer id of a connected member is refused for good after a short time: its goodbye may be on its way', async () => {
  const room = client().join('r');
  const events = listen(room);
  refuse({ code: 'peer_taken' }, 4501);
  assert.deepEqual(events, [['reconnecting', 'peer_taken']]);
  for (let attempt = 0; attempt < 2; attempt++) {
    pass(1000);
    refuse({ code: 'peer_taken' }, 4501);
  }
  assert.deepEqual([room.closed.code, FakeSocket.made.length], ['peer_taken', 3]);
});

test('a client waits as long as the member with its peer id is held, and then for a short time', async () => {
  const room = client().join('r');
  for (let attempt = 0; attempt < 60; attempt++) {
    refuse({ code: 'peer_taken', held: true }, 4501);
    pass(1250);
    assert.equal(FakeSocket.made.length, attempt + 2);
  }
  refuse({ code: 'peer_taken' }, 4501);
  pass(1250);
  FakeSocket.last.welcome();
  assert.equal(room.connected, true);
});

test('a further room whose peer id is held is joined when it is free', async () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  FakeSocket.last.welcome();
  for (let attempt = 0; attempt < 5; attempt++) {
    const { key } = FakeSocket.last.frames('join').at(-1);
    FakeSocket.last.say({ type: 'error', code: 'peer_taken', text: '', about: 'join', key, held: true });
    pass(2000);
    assert.equal(FakeSocket.last.frames('join').length, attempt + 2);
  }
  assert.deepEqual([one.connected, two.closed, FakeSocket.made.length], [true, undefined, 1]);
});

test('a membership that a late attempt of the same client took over is reclaimed with the key of that attempt', () => {
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

test('a silent connection is pinged, then closed with a code that is no goodbye', () => {
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

test('a connection without a welcome is given up', () => {
  client().join('r');
  pass(10_000);
  assert.equal(FakeSocket.made[0].closed, 4001);
  pass(250);
  assert.equal(FakeSocket.made.length, 2);
});

test('a connection that fails ends, before and after the room was left', async () => {
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

test('a change of network is checked at once', () => {
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

test('several rooms share a connection; each is joined and resumed by a command', () => {
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
  // An error may lack the room: its key identifies the room.
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

test('a room that cannot be joined does not affect the others', async () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  FakeSocket.last.welcome();
  const [{ key }] = FakeSocket.last.frames('join');
  FakeSocket.last.say({ type: 'error', code: 'bad_room', text: 'no', about: 'join', room: 'two', key });
  await assert.rejects(two.ready, { code: 'bad_room' });
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
  refuse({ code: 'bad_room' }, 4502);
  await assert.rejects(one.ready, { code: 'bad_room' });
  pass(250);
  assert.equal(FakeSocket.last.url.pathname, '/rooms/two');
  FakeSocket.last.welcome();
  assert.equal((await two.ready).name, 'two');
});

test('after its own room was full, the next connection begins with another room', () => {
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

test('a listener that drops the connection loses no other room', () => {
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

test('a room that is joined while another is refused waits for the one next connection', () => {
  const relay = client();
  const [one] = [relay.join('one'), relay.join('two')];
  one.on('close', () => relay.join('three'));
  refuse({ code: 'bad_room' }, 4502);
  pass(250);
  assert.equal(FakeSocket.made.length, 2);
  FakeSocket.last.welcome();
  assert.deepEqual(FakeSocket.last.frames('join').map(({ room }) => room), ['three']);
});

test('leaving waits for acknowledgements, sends leave, and closes the connection of the last room', async () => {
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

test('a room that is left before the connection opens does not delay the others', async () => {
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

test('a room that is left while it is joined is left at the relay as well', async () => {
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
  // The answers arrive too late.
  FakeSocket.last.say({ type: 'welcome', peer: 'me', room: 'two', id: '2-1', resume: 'key-two', first: false, key });
  FakeSocket.last.say({ type: 'left', room: 'two', key: goodbye.key });
  assert.deepEqual(events, [['close', 'left']]);
});

test('leaving without an answer ends after closeTimeout', async () => {
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

test('an address without a relay is given up', async () => {
  const room = client().join('r');
  FakeSocket.last.say('hello');
  await assert.rejects(room.ready, { code: 'protocol_error' });
});

test('a client that was in the room tries again where something else answers', () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  FakeSocket.last.end(1006);
  pass(1000);
  FakeSocket.last.say('<html>');
  assert.equal(room.closed, undefined);
  pass(5000);
  assert.equal(FakeSocket.made.length, 3);
  FakeSocket.last.welcome();
  assert.equal(room.connected, true);
});

test('a token is a subprotocol, never in the address', () => {
  client('https://relay', { token: 'abc.def' }).join('r');
  assert.deepEqual(FakeSocket.last.protocols.slice(0, 1).concat(FakeSocket.last.protocols.slice(2)), ['relay.v1', 'token.abc.def']);
  assert.equal(FakeSocket.last.url.href, 'wss://relay/rooms/r?peer=me&presence=1');
  assert.throws(() => client('ws://relay', { token: 'a b' }).join('r'), { code: 'bad_token' });
});

test('a client that works goes on after a frame that it cannot read, and reports it', () => {
  const room = client().join('r');
  const events = listen(room);
  FakeSocket.last.welcome();
  const texts = ['{"from":"a","id":"1-2","message":', '[]', '7', 'null'];
  texts.push('{"type":"presence"}', '{"type":"presence","members":[7],"count":1}', '{"type":"welcome","id":"1-2"}');
  for (const text of texts) FakeSocket.last.say(text);
  FakeSocket.last.say({ from: 'a', id: '1-3', message: 'next' });
  assert.deepEqual(events, [['open', true], ...texts.map(() => ['error', 'unreadable']), ['message', 'next']]);
  assert.equal(FakeSocket.made.length, 1);
  assert.equal(room.closed, undefined);
});
