// Commands and events of clients that have a say in a room, over a relay whose frames the tests write.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, pass, settle } from './relay.mjs';

const RULES = { max_members: null, locked: true, password: false, ttl: null, history: true, owner: null };

/** Answer the newest command. */
function answer(frame) {
  FakeSocket.last.say({ key: FakeSocket.last.sent.at(-1).key, ...frame });
}

/** Collect all events about the room itself, and its end. */
function notices(room) {
  const events = [];
  for (const name of ['rules', 'kicked', 'closed', 'move', 'leave', 'close']) {
    room.on(name, ({ type, rules, by, peer, reason, to, code }) => {
      events.push(JSON.parse(JSON.stringify({ type, rules, by, peer, reason, to, code })));
    });
  }
  return events;
}

beforeEach(begin);
afterEach(end);

test('commands and their answers', async () => {
  const room = client().join('main hall');
  FakeSocket.last.welcome();
  const events = notices(room);
  const rules = { type: 'rules', rules: RULES };
  const done = { type: 'done', about: 'kick', count: 2 };
  const calls = [
    [() => room.rules(), rules, RULES],
    [() => room.setRules({ max_members: 2, password: '' }), rules, RULES],
    [() => room.lock(), rules, RULES],
    [() => room.unlock(), rules, RULES],
    [() => room.kick('a'), done, 2],
    [() => room.kick('a', { reason: 'rude', ban: 60 }), done, 2],
    [() => room.movePeers('side hall', 'a'), done, 2],
    [() => room.movePeers('b'), done, 2],
    [() => room.closeRoom({ reason: 'late' }), done, undefined],
  ];
  for (const [call, frame, result] of calls) {
    const called = call();
    await settle();
    answer(frame);
    assert.deepEqual(await called, result);
  }
  assert.deepEqual(FakeSocket.last.sent.map(({ key, room: name, ...command }) => (assert.equal(name, 'main%20hall'), command)), [
    { type: 'rules' },
    { type: 'rules', set: { max_members: 2, password: '' } },
    { type: 'rules', set: { locked: true } },
    { type: 'rules', set: { locked: false } },
    { type: 'kick', peer: 'a' },
    { type: 'kick', peer: 'a', reason: 'rude', ban: 60 },
    { type: 'move', to: 'side%20hall', peers: ['a'] },
    { type: 'move', to: 'b' },
    { type: 'close', reason: 'late' },
  ]);
  assert.deepEqual(events, []);
});

test('a refusal, a lost connection, and no connection', async () => {
  const room = client().join('r');
  await assert.rejects(room.lock(), { code: 'not_acknowledged', possiblySent: false });
  FakeSocket.last.welcome();
  const refused = room.lock();
  answer({ type: 'error', code: 'not_granted', text: 'no', about: 'rules' });
  await assert.rejects(refused, { code: 'not_granted', text: 'no' });
  const lost = room.kick('a');
  FakeSocket.last.end(1006);
  await assert.rejects(lost, { code: 'not_acknowledged', possiblySent: true });
  await room.leave();
  await assert.rejects(room.rules(), { code: 'left' });
});

test('events about the room are reported once, and types of a later relay are ignored', () => {
  const room = client().join('r');
  FakeSocket.last.welcome({ members: [{ peer: 'b' }, { peer: 'me' }], count: 2 });
  const events = notices(room);
  for (const frame of [
    { type: 'rules', rules: { ...RULES, owner: 'a' }, by: 'a', id: '1-2' },
    { type: 'rules', rules: {}, id: '1-3' },
    { type: 'rules', rules: {}, id: '1-3' },
    { type: 'kicked', peer: 'b', reason: 'rude', id: '1-4' },
    { type: 'presence', joined: [], left: ['b'], id: '1-5' },
    { type: 'move', to: 'side%20hall', id: '1-6' },
    { type: 'of a later relay', id: '1-7' },
    { type: 7 },
  ]) FakeSocket.last.say(frame);
  assert.deepEqual(events, [
    { type: 'rules', rules: { ...RULES, owner: 'a' }, by: 'a' },
    { type: 'rules', rules: { ...RULES, locked: false }, by: '' },
    { type: 'kicked', peer: 'b', reason: 'rude' },
    { type: 'leave', peer: 'b' },
    { type: 'move', to: 'side hall' },
  ]);
  assert.deepEqual([room.id, room.connected], ['1-6', true]);
});

test('a client that is put out of a room stays away, and the page is told why', async () => {
  for (const [frame, event, closed] of [
    [{ type: 'kicked', peer: 'me', reason: 'rude' }, { type: 'kicked', peer: 'me', reason: 'rude' }, ['kicked', 'rude']],
    [{ type: 'closed' }, { type: 'closed', reason: '' }, ['room_closed', '']],
  ]) {
    const relay = client();
    const room = relay.join('r');
    FakeSocket.made = FakeSocket.made.slice(-1);
    FakeSocket.last.welcome();
    const events = notices(room);
    const loop = (async () => { for await (const _ of room); })();
    const sent = room.send('x');
    FakeSocket.last.say({ ...frame, id: '1-2' });
    assert.deepEqual(events, [event, { type: 'close', code: closed[0], reason: closed[1] }]);
    await assert.rejects(sent, { code: closed[0] });
    await assert.rejects(loop, { code: closed[0] });
    pass(60_000);
    assert.deepEqual([FakeSocket.made.length, FakeSocket.last.closed, relay.rooms], [1, 1000, []]);
  }
});

test('a client that is put out of one room keeps the others, also if its connection is closed for it', async () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  FakeSocket.last.welcome();
  const [{ key }] = FakeSocket.last.frames('join');
  FakeSocket.last.say({ type: 'welcome', peer: 'me', room: 'two', id: '2-1', resume: 'key-two', first: true, key });
  FakeSocket.last.say({ type: 'kicked', peer: 'me', id: '1-2' });
  assert.deepEqual([one.closed.code, two.connected, FakeSocket.last.closed], ['kicked', true, undefined]);
  FakeSocket.last.end(4506, 'kicked');
  pass(250);
  assert.deepEqual([two.closed, FakeSocket.last.url.pathname], [undefined, '/rooms/two']);
  FakeSocket.last.welcome();
  FakeSocket.last.end(4507, 'room_closed');
  pass(60_000);
  assert.deepEqual([two.closed.code, FakeSocket.made.length], ['room_closed', 2]);
});

test('closing a room is done when this client is put out, too', async () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  const closing = room.closeRoom();
  FakeSocket.last.say({ type: 'closed', id: '1-2' });
  await closing;
  assert.equal(room.closed.code, 'room_closed');
});

test('a newer token may grant less: fewer rooms, or no view of the members', () => {
  const relay = client();
  const [one, two] = [relay.join('one'), relay.join('two')];
  const errors = [];
  one.on('error', ({ code }) => errors.push(code));
  FakeSocket.last.welcome();
  const [{ key }] = FakeSocket.last.frames('join');
  FakeSocket.last.say({ type: 'welcome', peer: 'me', room: 'two', id: '2-1', resume: 'key-two', first: true, key });
  const refusal = { type: 'error', code: 'not_granted', text: 'no' };
  FakeSocket.last.say({ ...refusal, about: 'presence', room: 'one' });
  FakeSocket.last.say({ ...refusal, about: 'refresh', room: 'two' });
  assert.deepEqual([errors, two.closed.code, one.connected], [['not_granted'], 'not_granted', true]);
  FakeSocket.last.say({ ...refusal, about: 'refresh', room: 'one' });
  assert.deepEqual([one.closed.code, FakeSocket.last.closed], ['not_granted', 1000]);
});

test('an observer of a room that is closed goes on: others may open it again', () => {
  const room = client().observe('r');
  FakeSocket.last.say({ type: 'welcome', observer: true, room: 'r', id: '1-1', members: [], count: 0 });
  const events = notices(room);
  FakeSocket.last.say({ type: 'closed', reason: 'late', id: '1-2' });
  assert.deepEqual([events, room.closed, room.connected], [[{ type: 'closed', reason: 'late' }], undefined, true]);
});
