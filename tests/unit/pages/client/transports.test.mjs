// When connections are over a WebSocket and when over HTTP, over relays whose frames the tests write.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeHttp } from './http.mjs';
import { FakeSocket, begin, client, end, listen, pass, settle } from './relay.mjs';

const BOTH = { transports: ['websocket', 'http'] };
let http;

beforeEach(() => {
  begin();
  http = new FakeHttp();
  http.begin();
});
afterEach(() => {
  http.end();
  end();
});

/** The attempts of the WebSockets so far; a probe is none. */
const attempts = () => FakeSocket.made.filter(({ url }) => !url.searchParams.has('observe')).length;

async function blocked(relay = client('ws://relay', BOTH)) {
  const room = relay.join('r');
  for (const delay of [250, 500]) {
    FakeSocket.last.fail();
    pass(delay);
    await settle();
  }
  http.last.welcome();
  await settle();
  return room;
}

test('where WebSockets work, nothing is asked over HTTP', async () => {
  const room = client('ws://relay', BOTH).join('r');
  FakeSocket.last.welcome();
  FakeSocket.last.end(1006);
  pass(250);
  FakeSocket.last.welcome();
  pass(100_000);
  await settle();
  assert.deepEqual([room.transport, http.streams.length], ['websocket', 0]);
});

test('after two WebSockets without a frame, HTTP carries the same connection', async () => {
  const relay = client('ws://relay', BOTH);
  const room = await blocked(relay);
  const events = listen(room);
  assert.deepEqual([room.transport, room.connected, attempts()], ['http', true, 2]);
  assert.equal(http.last.resume, FakeSocket.made[0].resume);
  const sent = room.send('x');
  await settle();
  const [{ key, envelope }] = http.frames;
  assert.equal(envelope.message, 'x');
  http.last.say({ from: 'a', id: '1-2', message: 'one' });
  http.last.say({ type: 'ack', key, id: '1-3' });
  assert.equal((await sent).id, '1-3');
  assert.deepEqual(events, [['message', 'one']]);
  const other = relay.join('s');
  await settle();
  assert.equal(http.frames.at(-1).type, 'join');
  assert.equal(http.streams.length, 1);
  assert.equal(other.transport, '');
});

test('a relay that is down is found again over a WebSocket', async () => {
  http.down = true;
  client('ws://relay', BOTH).join('r');
  let made = 0;
  for (let round = 0; round < 8; round++) {
    if (FakeSocket.made.length > made) FakeSocket.last.fail();
    made = FakeSocket.made.length;
    pass(10_000);
    await settle();
  }
  assert.ok(attempts() >= 5, String(attempts()));
  assert.equal(http.streams.length, 0);
});

test('once a WebSocket has worked, four in a row have to fail', async () => {
  const room = client('ws://relay', BOTH).join('r');
  FakeSocket.last.welcome();
  FakeSocket.last.end(1006);
  for (let failed = 0; failed < 4; failed++) {
    assert.equal(http.streams.length, 0);
    pass(10_000);
    FakeSocket.last.fail();
  }
  pass(10_000);
  await settle();
  http.last.welcome({ resumed: true, recovered: true });
  await settle();
  assert.deepEqual([room.transport, attempts()], ['http', 5]);
});

test('a network that lets the upgrade through and no frame is a blocked one', async () => {
  client('ws://relay', BOTH).join('r');
  FakeSocket.last.readyState = 1;
  pass(10_000);
  pass(250);
  await settle();
  assert.deepEqual([attempts(), http.streams.length], [1, 1]);
});

test('once a WebSocket has worked, one that is silent is enough: the membership is held for 15 seconds', async () => {
  const room = client('ws://relay', BOTH).join('r');
  FakeSocket.last.welcome();
  FakeSocket.last.end(1006);
  pass(250);
  FakeSocket.last.readyState = 1;
  pass(10_000);
  pass(500);
  await settle();
  http.last.welcome({ resumed: true, recovered: true });
  await settle();
  assert.deepEqual([room.transport, attempts()], ['http', 2]);
});

test('when a WebSocket brings a frame again, the connection moves there with its key, its position and its waiting messages', async () => {
  const room = await blocked();
  const events = listen(room);
  http.last.say({ from: 'a', id: '1-5', message: 'one' });
  const sent = room.send('x');
  await settle();
  pass(5000);
  const probe = FakeSocket.last;
  assert.equal(probe.url.search, '?observe=presence');
  assert.deepEqual(probe.protocols, ['relay.v1']);
  probe.say({ type: 'error', code: 'token_required' });
  assert.equal(probe.closed, 1000);
  pass(0);
  await settle();
  assert.equal(http.last.aborted, true);
  assert.equal(http.posts.at(-1).close, '4001');
  const { last } = FakeSocket;
  assert.deepEqual([last.resume, last.url.searchParams.get('since')], ['key-http', '1-5']);
  last.welcome({ id: '1-5', resumed: true, recovered: true });
  const [again] = last.frames('publish');
  assert.equal(again.key, http.frames[0].key);
  last.say({ type: 'ack', key: again.key, id: '1-6' });
  await sent;
  last.say({ type: 'recovered', id: '1-6', replayed: 0 });
  assert.equal(room.transport, 'websocket');
  assert.deepEqual(events, [['message', 'one'], ['reconnecting', 'upgrading'], ['resumed', true]]);
});

test('a probe that fails is followed by others, ever later, up to a minute', async () => {
  await blocked();
  const times = [];
  let probes = FakeSocket.made.length;
  for (let second = 0; second < 300; second++) {
    pass(1000);
    if (second % 10 === 0) http.last.say({ type: 'pong' });
    await settle();
    if (FakeSocket.made.length === probes) continue;
    probes = FakeSocket.made.length;
    times.push(second);
    FakeSocket.last.fail();
  }
  const waits = times.slice(1).map((time, index) => time - times[index]);
  assert.deepEqual(waits.map((wait) => Math.round(wait / 10)), [1, 2, 4, 6, 6, 6].slice(0, waits.length));
});

test('an answer that is on its way keeps the connection where it is', async () => {
  const room = await blocked();
  const rules = room.rules();
  await settle();
  pass(5000);
  FakeSocket.last.say({ type: 'welcome' });
  pass(0);
  assert.equal(room.transport, 'http');
  const { key } = http.frames.find(({ type }) => type === 'rules');
  http.last.say({ type: 'rules', key, rules: {} });
  await rules;
  pass(10_000);
  FakeSocket.last.say({ type: 'welcome' });
  assert.equal(room.transport, '');
});

test('if the WebSocket fails after all, the connection is over HTTP again at once', async () => {
  const room = await blocked();
  pass(5000);
  FakeSocket.last.say({ type: 'welcome' });
  pass(0);
  FakeSocket.last.fail();
  pass(1000);
  await settle();
  http.last.welcome({ resumed: true, recovered: true });
  await settle();
  assert.deepEqual([room.transport, http.streams.length], ['http', 2]);
});

test('the findings of one connection count for the others', async () => {
  const relay = client('ws://relay', BOTH);
  await blocked(relay);
  const made = FakeSocket.made.length;
  relay.observe('s');
  await settle();
  assert.equal(FakeSocket.made.length, made);
  assert.equal(http.last.url.searchParams.get('observe'), 'all');
});

test('the option names the transports that are allowed', async () => {
  const room = client('ws://relay', { transports: ['http'] }).join('r');
  await settle();
  http.last.welcome();
  await settle();
  pass(100_000);
  assert.deepEqual([room.transport, FakeSocket.made.length], ['http', 0]);
  for (const transports of [[], ['carrier pigeon'], 'http']) {
    assert.throws(() => client('ws://relay', { transports }), { code: 'bad_transport' });
  }
});
