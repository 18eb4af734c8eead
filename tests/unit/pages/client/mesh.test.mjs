// Which page connects to which, and which message belongs to which connection. tests/browser shows that media flow.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, settle } from './relay.mjs';

class FakeConnection {
  static made = [];
  signalingState = 'stable';
  localDescription = null;
  remoteDescription = null;
  taken = [];

  constructor(configuration) {
    this.configuration = configuration;
    FakeConnection.made.push(this);
  }

  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  createDataChannel() {}

  getSenders() {
    return [];
  }

  async setLocalDescription() {
    const type = this.signalingState === 'stable' ? 'offer' : 'answer';
    this.signalingState = type === 'offer' ? 'have-local-offer' : 'stable';
    this.localDescription = { type, sdp: `of ${FakeConnection.made.indexOf(this)}` };
  }

  async setRemoteDescription(description) {
    this.taken.push(description.sdp);
    this.remoteDescription = description;
    this.signalingState = description.type === 'offer' ? 'have-remote-offer' : 'stable';
  }

  async addIceCandidate(candidate) {
    this.taken.push(candidate.candidate);
  }

  close() {
    this.signalingState = 'closed';
  }
}

let mesh, number;

beforeEach(async () => {
  begin();
  globalThis.RTCPeerConnection = FakeConnection;
  FakeConnection.made = [];
  number = 1;
  const relay = client();
  mesh = relay.mesh(relay.join('r'));
  FakeSocket.last.welcome();
  await settle();
});
afterEach(() => {
  mesh.close();
  end();
  delete globalThis.RTCPeerConnection;
});

// This client is "me". It offers to "al", and "zoe" offers to it.
const hear = (message, from = 'zoe') => {
  FakeSocket.last.say({ from, id: `1-${++number}`, channel: 'relay.mesh', message });
  return settle();
};

const said = () => FakeSocket.last.frames('publish').map(({ envelope }) => envelope.message);

test('this client offers to a peer with a smaller id, with both marks', async () => {
  const [{ hello }] = said();
  await hear({ hello: 'al-1' }, 'al');
  const [connection] = FakeConnection.made;
  await connection.onnegotiationneeded();
  assert.deepEqual(said().at(-1), { by: hello, to: 'al-1', description: { type: 'offer', sdp: 'of 0' } });
  await hear({ by: 'al-1', to: hello, description: { type: 'answer', sdp: 'yes' } }, 'al');
  await hear({ by: 'al-1', to: hello, candidate: { candidate: 'here' } }, 'al');
  assert.deepEqual(connection.taken, ['yes', 'here']);
});

test('a peer with a greater id gets a hello, and offers', async () => {
  const [{ hello }] = said();
  await hear({ hello: 'zoe-1' });
  const { channel, message, to } = FakeSocket.last.frames('publish').at(-1).envelope;
  assert.deepEqual({ channel, message, to }, { channel: 'relay.mesh', message: { hello }, to: 'zoe' });
  assert.equal(FakeConnection.made.length, 0);
  await hear({ by: 'zoe-1', to: hello, description: { type: 'offer', sdp: 'join' } });
  const [connection] = FakeConnection.made;
  assert.deepEqual(said().at(-1).description, { type: 'answer', sdp: 'of 0' });
  // Later offers may come from this side, too.
  await connection.onnegotiationneeded();
  assert.equal(said().at(-1).description.type, 'offer');
});

test('the peer with the smaller id makes no first offer', async () => {
  const [{ hello }] = said();
  await hear({ by: 'zoe-1', to: hello, candidate: { candidate: 'early' } });
  const before = said().length;
  await FakeConnection.made[0].onnegotiationneeded();
  assert.equal(said().length, before);
});

test('messages for an earlier mark are ignored', async () => {
  const [{ hello }] = said();
  await hear({ by: 'zoe-1', to: 'before', description: { type: 'offer', sdp: 'late' } });
  await hear({ by: 'zoe-1', to: 'before', candidate: { candidate: 'late' } });
  await hear({ description: { type: 'offer', sdp: 'nobody' } });
  assert.equal(mesh.connections.size, 0);
  await hear({ by: 'zoe-1', to: hello, description: { type: 'offer', sdp: 'now' } });
  assert.deepEqual(FakeConnection.made.map(({ taken }) => taken), [['now']]);
});

test('a peer with a new mark gets a new connection', async () => {
  const gone = [];
  mesh.on('gone', ({ peer }) => gone.push(peer));
  await hear({ hello: 'al-1' }, 'al');
  await hear({ hello: 'al-1' }, 'al');
  await hear({ hello: 'al-2' }, 'al');
  assert.deepEqual(FakeConnection.made.map(({ signalingState }) => signalingState), ['closed', 'stable']);
  assert.deepEqual(gone, ['al']);
  await hear({ bye: 'al-2' }, 'al');
  assert.equal(mesh.connections.size, 0);
});

test('a client that was not recovered sends a new hello, and old connections end when the others offer', async () => {
  const [{ hello }] = said();
  await hear({ by: 'zoe-1', to: hello, description: { type: 'offer', sdp: 'first' } });
  FakeSocket.last.welcome({ id: '2-1', recovered: false, reason: 'expired', members: [{ peer: 'me' }, { peer: 'zoe' }], count: 2 });
  number = 1;
  await settle();
  const again = said().at(-1).hello;
  assert.notEqual(again, hello);
  FakeSocket.last.say({ from: 'zoe', id: '2-2', channel: 'relay.mesh', message: { by: 'zoe-1', to: again, description: { type: 'offer', sdp: 'back' } } });
  await settle();
  assert.deepEqual(FakeConnection.made.map(({ signalingState }) => signalingState), ['closed', 'stable']);
  assert.deepEqual(FakeConnection.made[1].taken, ['back']);
});

test('renewed ICE servers are for connections that exist, and for new ones', async () => {
  FakeSocket.last.say({ type: 'ice', iceServers: [{ urls: 'turn:1' }], ttl: 60 });
  await hear({ hello: 'al-1' }, 'al');
  const [connection] = FakeConnection.made;
  assert.deepEqual(connection.configuration, { iceServers: [{ urls: 'turn:1' }] });
  FakeSocket.last.say({ type: 'ice', iceServers: [{ urls: 'turn:2' }], ttl: 60 });
  assert.deepEqual(connection.configuration, { iceServers: [{ urls: 'turn:2' }] });
});

test('nonsense from a peer is an error event, and ends nothing', async () => {
  const [{ hello }] = said();
  const errors = [];
  mesh.on('error', ({ peer }) => errors.push(peer));
  await hear({ hello: 7 });
  await hear(null);
  await hear('hello');
  assert.equal(FakeConnection.made.length, 0);
  FakeConnection.prototype.setRemoteDescription = () => Promise.reject(new TypeError('no description'));
  await hear({ by: 'zoe-1', to: hello, description: 'nonsense' });
  assert.deepEqual(errors, ['zoe']);
});

test('a room with echo makes no call to itself', async () => {
  const before = said().length;
  await hear(said()[0], 'me');
  await hear({ hello: 'me-before' }, 'me');
  assert.equal(said().length, before);
  assert.equal(FakeConnection.made.length, 0);
});

test('the call ends with its room', async () => {
  const gone = [];
  mesh.on('gone', ({ peer }) => gone.push(peer));
  await hear({ hello: 'al-1' }, 'al');
  FakeSocket.last.end(4500, 'replaced');
  assert.deepEqual(gone, ['al']);
  assert.equal(FakeConnection.made[0].signalingState, 'closed');
});
