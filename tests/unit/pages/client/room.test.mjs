// `Relay` and `Room`.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, pass, settle } from './relay.mjs';

beforeEach(begin);
afterEach(end);

test('addresses are accepted or refused', () => {
  for (const [url, path] of [
    ['ws://h', 'ws://h/rooms/r'], ['http://h:1/', 'ws://h:1/rooms/r'], ['https://h/relay/', 'wss://h/relay/rooms/r'],
    ['wss://h/rooms/other', 'wss://h/rooms/r'],
  ]) {
    client(url).join('r');
    assert.equal(FakeSocket.last.url.href.split('?')[0], path);
  }
  for (const url of ['', 'nonsense', 'ftp://h', 'ws://h/?peer=x', undefined]) {
    assert.throws(() => client(url ?? null), { code: 'bad_url' });
  }
});

test('the options of send are fields of the envelope', async () => {
  const room = client().join('r');
  FakeSocket.last.welcome({ members: [{ peer: 'me' }, { peer: 'a' }], count: 2 });
  room.send({ deep: [1] }, { to: ['a'], channel: 'c', sender: 's', key: 'k' });
  const [{ envelope, key }] = FakeSocket.last.frames('publish');
  assert.deepEqual(envelope, { sender: 's', channel: 'c', message: { deep: [1] }, to: ['a'], key: 'k' });
  assert.equal(key, 'k');
  assert.deepEqual(room.members, ['me', 'a']);
});

test('an envelope is given up after its timeout, and later ones go on', async () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  const first = room.send(1, { timeout: 1000 });
  room.send(2, { timeout: Infinity }).catch(() => {});
  pass(1000);
  await assert.rejects(first, { code: 'not_acknowledged', possiblySent: true });
  const late = room.send(3, { timeout: 10 });
  FakeSocket.last.end(1006);
  assert.equal(room.waiting, 2);
  pass(10);
  await assert.rejects(late, { code: 'not_acknowledged' });
});

test('a full queue refuses an envelope', async () => {
  const room = client('ws://relay', { outgoing: 1 }).join('r');
  room.send(1).catch(() => {});
  await assert.rejects(room.send(2), { code: 'queue_full' });
});

test('a loop gets all events, and throws when the membership was replaced', async () => {
  const room = client().join('r');
  const heard = [];
  const loop = (async () => { for await (const { type } of room) heard.push(type); })();
  FakeSocket.last.welcome();
  FakeSocket.last.say({ from: 'a', id: '1-2', message: 1 });
  await settle();
  FakeSocket.last.end(4500, 'replaced');
  await assert.rejects(loop, { code: 'replaced' });
  assert.deepEqual(heard, ['open', 'message']);
});

test('a loop that is too slow fails with overflow', async () => {
  const room = client().join('r');
  const loop = room[Symbol.asyncIterator]();
  const first = loop.next();
  FakeSocket.last.welcome();
  await first;
  for (let seq = 2; seq < 1100; seq++) FakeSocket.last.say({ from: 'a', id: `1-${seq}`, message: seq });
  await assert.rejects(loop.next(), { code: 'overflow' });
});

test('ICE servers are available after a join', async () => {
  const relay = client();
  await assert.rejects(relay.iceServers(), { code: 'not_joined' });
  relay.join('r');
  const servers = relay.iceServers();
  FakeSocket.last.welcome({ iceServers: [{ urls: 'stun:s' }] });
  assert.deepEqual(await servers, [{ urls: 'stun:s' }]);
});

test('renewed ICE servers are those of all rooms of the connection, and an event', async () => {
  const relay = client();
  const room = relay.join('r');
  FakeSocket.last.welcome({ iceServers: [{ urls: 'turn:old' }] });
  await room.ready;
  const heard = [];
  room.on('ice', ({ iceServers }) => heard.push(iceServers));
  FakeSocket.last.say({ type: 'ice', iceServers: [{ urls: 'turn:new' }], ttl: 60 });
  assert.deepEqual(room.iceServers, [{ urls: 'turn:new' }]);
  assert.deepEqual(await relay.iceServers(), [{ urls: 'turn:new' }]);
  assert.deepEqual(heard, [[{ urls: 'turn:new' }]]);
  FakeSocket.last.say({ type: 'ice', ttl: 60 });
  assert.deepEqual(room.iceServers, [{ urls: 'turn:new' }]);
});

test('a room can be joined once at a time', async () => {
  const relay = client();
  const room = relay.join('r');
  assert.throws(() => relay.join('r'), { code: 'already_joined' });
  assert.equal(relay.join('r', { peer: 'other' }).peer, 'other');
  FakeSocket.made[0].end(4500, 'replaced');
  await assert.rejects(room.ready);
  relay.join('r');
});

test('names that no URL can carry are refused, and leave nothing behind', async () => {
  const relay = client();
  for (const name of ['.', '..', 'a\ud800']) {
    assert.throws(() => relay.join(name), { code: 'bad_room' });
    await assert.rejects(relay.presence(name), { code: 'bad_room' });
  }
  assert.deepEqual([relay.rooms, FakeSocket.made], [[], []]);
  assert.equal(relay.join('r').name, 'r');
  assert.equal(FakeSocket.made.length, 1);
});

test('presence asks the next address if one does not answer', async (context) => {
  const asked = [];
  const answers = { one: () => { throw new TypeError('fetch failed'); }, two: () => ({ ok: true, json: async () => ({ count: 1 }) }) };
  context.mock.method(globalThis, 'fetch', async (url) => {
    asked.push(url);
    return answers[new URL(url).host]();
  });
  assert.deepEqual(await client(['ws://one', 'wss://two/path']).presence('r'), { count: 1 });
  assert.deepEqual(asked, ['http://one/rooms/r', 'https://two/path/rooms/r']);
  await assert.rejects(client('ws://one').presence('r'), { code: 'unreachable', text: 'fetch failed' });
  const refusal = { code: 'rate_limited', text: 'later' };
  answers.one = () => ({ ok: false, json: async () => ({ error: refusal }) });
  await assert.rejects(client(['ws://one', 'ws://two']).presence('r'), refusal);
});

test('presence is asked for with a token only where the relay wants one', async (context) => {
  const asked = [];
  context.mock.method(globalThis, 'fetch', async (url, { headers }) => {
    asked.push(headers?.Authorization);
    const error = { code: 'token_required', text: 'no' };
    return headers ? { ok: true, json: async () => ({ count: 1 }) } : { ok: false, json: async () => ({ error }) };
  });
  assert.deepEqual(await client('ws://relay', { token: async () => 't' }).presence('r'), { count: 1 });
  assert.deepEqual(await client('ws://relay', { token: 'u' }).presence('r'), { count: 1 });
  await assert.rejects(client().presence('r'), { code: 'token_required' });
  assert.deepEqual(asked, [undefined, 'Bearer t', undefined, 'Bearer u', undefined]);
});
