// The cases of PeerJS's own suites (version 1.5: its end-to-end pages, and its tests of `Peer` with a mocked server), under
// their names, written anew against two workers of a relay. The unmodified library runs in this page; the two peers of a
// case are on different workers. RELAY: `workers`, and `later`, an address that refuses connections until the test's
// function `startServer` is called.
import { check, describe, next, play, same } from '/conformance/cases.mjs';
import { MsgPack } from '/conformance/node_modules/peerjs/dist/serializer.msgpack.mjs';

const [here, there] = RELAY.workers;
const made = [];

function make(relay, id, options) {
  const { hostname: host, port } = new URL(relay);
  const peer = new Peer(id, { host, port, path: '/', config: { iceServers: [] }, serializers: { MsgPack }, ...options });
  made.push(peer);
  return peer;
}

const opened = (peer) => Promise.race([next(peer, 'open'), next(peer, 'error').then(([error]) => { throw error; })]);
const open = async (...place) => { const peer = make(...place); await opened(peer); return peer; };
const both = () => Promise.all([open(here), open(there)]);
const state = ({ open, disconnected, destroyed }) => ({ open, disconnected, destroyed });
const OPEN = { open: true, disconnected: false, destroyed: false };
const AWAY = { open: false, disconnected: true, destroyed: false };
const GONE = { open: false, disconnected: true, destroyed: true };

// The kind of a value, in a form that JSON keeps.
function plain(value) {
  if (value instanceof Date) return ['Date', value.getTime()];
  if (value instanceof ArrayBuffer) return ['ArrayBuffer', ...new Uint8Array(value)];
  if (ArrayBuffer.isView(value)) return [value.constructor.name, ...value];
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

function alike(received, wanted) {
  same(received.length, wanted.length);
  const at = wanted.findIndex((one, number) => JSON.stringify(plain(one)) !== JSON.stringify(plain(received[number])));
  const shown = (list) => JSON.stringify(plain(list[at])).slice(0, 200);
  check(at < 0, at < 0 || `${shown(received)} is not ${shown(wanted)}`);
}

// One peer sends values over a data channel and closes it; the other one has got them all, in order, by then.
const transfers = (serialization, sent, expected = sent) => async () => {
  const [alice, bob] = await both();
  const received = [];
  const closed = new Promise((resolve) => bob.once('connection', (connection) => {
    connection.on('data', (data) => received.push(data));
    connection.once('close', resolve);
  }));
  const connection = alice.connect(bob.id, { reliable: true, serialization });
  await opened(connection);
  const failed = next(connection, 'error').then(([error]) => { throw error; });
  for (const one of sent) await connection.send(one);
  connection.close({ flush: true });
  await Promise.race([closed, failed]);
  alike(received, expected);
};

const numbers = [0, 1, -1, Math.E, -Math.E, 0x7f, 0x0f, 0x7fff, 0x0fff, 0x7fffffff, 0x0fffffff, 2 ** 52 + 1];
const strings = ['', 'hello', 'café', '日本語', 'snow \u2603, face \u{1f600}, last \u{10ffff}'];
const longString = 'a löng téxt \u2603 '.repeat(100000);
const objects = Array.from({ length: 30 }, (_, number) => ({
  number, name: `peer ${number}`, on: number % 2 === 0, nothing: null, deep: { list: [[number], [{ text: 'é\u2603'.repeat(50) }]] },
}));
const dates = [new Date(Date.UTC(2026, 1, 3, 4, 5, 6, 7)), new Date(Date.UTC(1, 2, 3, 4, 5, 6, 7))];
const lengths = [0, 1, 7, 14, 40];
const bytes = lengths.map((length) => Uint8Array.from({ length }, (_, number) => number * 6));
const integers = lengths.slice(1).map((length) => Int32Array.from({ length }, (_, number) => -number * 1000));
const view = new Uint8Array(bytes[4].buffer, 4, 20);
const buffer = (array) => array.slice().buffer;
const texts = objects.map((one) => JSON.stringify(one));
const textBuffers = texts.map((text) => new TextEncoder().encode(text).buffer);
const arrays = [[], Array.from({ length: 20 }, () => objects).flat()];

describe('Peer', {
  'should emit an error, when the ID is already taken': async () => {
    const holder = await open(here);
    const failed = next(holder, 'error').then(([error]) => { throw error; });
    const attempts = Array.from({ length: 10 }, async (_, number) => {
      const other = make(RELAY.workers[number % 2], holder.id);
      const opens = next(other, 'open').then(() => { throw new Error('the ID was taken over'); });
      const [{ type }] = await Promise.race([next(other, 'error'), opens]);
      same(type, 'unavailable-id');
    });
    await Promise.race([Promise.all(attempts), failed]);
    check(holder.open);
  },
  'should emit an error, when the server is unavailable': async () => {
    const [{ type }] = await next(make('http://no-such-server.example:8888'), 'error');
    same(type, 'server-error');
  },
  'should emit an error, when it got disconnected from the server': async () => {
    const peer = await open(here);
    const error = next(peer, 'error');
    peer.disconnect();
    peer.connect('otherid');
    same((await error)[0].type, 'disconnected');
  },
});

describe('DataChannel:Binary', {
  'should transfer numbers': transfers('binary', numbers),
  'should transfer strings': transfers('binary', strings),
  'should transfer long string': transfers('binary', [longString]),
  'should transfer objects': transfers('binary', objects),
  'should transfer Blobs': transfers('binary', texts.map((text) => new Blob([text])), textBuffers),
  'should transfer Files': transfers('binary', texts.map((text) => new File([text], 'a file', { type: 'of/ours' })), textBuffers),
  'should transfer arrays': transfers('binary', arrays),
  'should transfer Dates as strings': transfers('binary', dates, dates.map(String)),
  'should transfer ArrayBuffers': transfers('binary', bytes.map(buffer)),
  'should transfer TypedArrayView as ArrayBuffer': transfers('binary', [view], [buffer(view)]),
  'should transfer Uint8Arrays as ArrayBuffer': transfers('binary', bytes, bytes.map(buffer)),
  'should transfer Int32Arrays as ArrayBuffer': transfers('binary', integers, integers.map(buffer)),
});

describe('DataChannel:JSON', {
  'should transfer numbers': transfers('json', numbers),
  'should transfer strings': transfers('json', strings),
  'should transfer objects': transfers('json', objects),
  'should transfer arrays (no chunks)': transfers('json', [[], objects.slice(0, 2)]),
  'should transfer Dates as strings': transfers('json', dates, dates.map((date) => date.toJSON())),
});

describe('DataChannel:MsgPack', {
  'should transfer numbers': transfers('MsgPack', numbers),
  'should transfer strings': transfers('MsgPack', strings),
  'should transfer long string': transfers('MsgPack', [longString]),
  'should transfer objects': transfers('MsgPack', objects),
  'should transfer arrays': transfers('MsgPack', arrays),
  'should transfer Dates as strings': transfers('MsgPack', dates),
  'should transfer TypedArrayView': transfers('MsgPack', [view]),
  'should transfer Uint8Arrays': transfers('MsgPack', bytes),
  'should transfer Int32Arrays as Uint8Arrays': transfers('MsgPack', integers, integers.map((array) => new Uint8Array(buffer(array)))),
});

// A video that nobody draws.
function video() {
  const canvas = document.createElement('canvas');
  canvas.getContext('2d').fillRect(0, 0, 8, 8);
  return canvas.captureStream(30);
}

describe('MediaStream', {
  'should close the remote stream': async () => {
    const [alice, bob] = await both();
    const answered = new Promise((resolve) => bob.once('call', (call) => { call.answer(video()); resolve(call); }));
    const outgoing = alice.call(bob.id, video());
    const streamed = next(outgoing, 'stream');
    const incoming = await answered;
    await Promise.all([streamed, next(incoming, 'willCloseOnRemote')]);
    const closed = Promise.all([next(incoming, 'close'), next(outgoing, 'close')]);
    incoming.close();
    await closed;
  },
});

describe('Peer › after construct without parameters', {
  "shouldn't contains any connection": async () => {
    const peer = make(here);
    same([peer.connections, peer.id, state(peer)], [{}, null, { open: false, disconnected: false, destroyed: false }]);
  },
});

describe('Peer › after construct with parameters', {
  'should contains id and key': async () => {
    const peer = make(here, '1', { key: 'anotherKey' });
    same([peer.id, peer.options.key], ['1', 'anotherKey']);
  },
});

describe('Peer › after call to peer #2', {
  'Peer#1 should has id #1': async () => {
    const peer = make(here, 'first');
    check(!peer.open);
    const stream = video();
    const call = peer.call('second', stream, { metadata: { var: '123' } });
    same([typeof call.connectionId, call.type, call.peer, call.metadata], ['string', 'media', 'second', { var: '123' }]);
    same(call.peerConnection.getSenders()[0].track.id, stream.getTracks()[0].id);
    await opened(peer);
    same([peer.id, state(peer)], ['first', OPEN]);
    peer.destroy();
    same([peer.connections, state(peer)], [{}, GONE]);
  },
});

async function ends(peer) {
  const states = [];
  for (const event of ['disconnected', 'close']) peer.once(event, () => states.push(state(peer)));
  const closed = next(peer, 'close');
  peer.destroy();
  await closed;
  same(states, [AWAY, GONE]);
}

describe('Peer › reconnect', {
  'connect to server => disconnect => reconnect => destroy': async () => {
    const peer = await open(here, 'comes-back');
    same(state(peer), OPEN);
    const away = next(peer, 'disconnected');
    peer.disconnect();
    await away;
    same(state(peer), AWAY);
    peer.reconnect();
    await opened(peer);
    same([peer.id, state(peer)], ['comes-back', OPEN]);
    await ends(peer);
  },
  'disconnect => reconnect => destroy': async () => {
    const peer = make(RELAY.later, 'comes-late');
    same(await next(peer, 'disconnected'), ['comes-late']);
    same(state(peer), AWAY);
    await startServer();
    peer.reconnect();
    await opened(peer);
    same([peer.id, state(peer)], ['comes-late', OPEN]);
    await ends(peer);
  },
  'destroy peer if no id and no connection': async () => {
    const peer = make('http://no-such-server.example:8888');
    const closed = next(peer, 'close');
    same((await next(peer, 'error'))[0].type, 'server-error');
    await closed;
    same(state(peer), GONE);
  },
});

window.played = [];
window.begin = async () => {
  await play(3, (one) => played.push(one), 40000);
  for (const peer of made) peer.destroy();
  window.over = true;
};
