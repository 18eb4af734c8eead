// relay.js under arbitrary input: nothing throws, nothing pollutes, and no user acts in the name of another one.
//
// SEED repeats a run; RUNS is the number of inputs for each property. A failure prints the seed and the smallest input.
import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';

import fc from 'fast-check';

import { parseFrame } from '../../relay/pages/client/frames.js';
import { StoredKeys } from '../../relay/pages/client/keys.js';
import { FakeSocket, begin, client, end, pass, settle } from '../unit/pages/client/relay.mjs';

const seed = Number(process.env.SEED ?? 20_261_129);
const numRuns = Number(process.env.RUNS ?? 200);
fc.configureGlobal({ seed, numRuns, interruptAfterTimeLimit: 8000, markInterruptAsFailure: false });

const INHERITED = Object.getOwnPropertyNames(Object.prototype);
const pristine = INHERITED.map((name) => Object.getOwnPropertyDescriptor(Object.prototype, name));
const faults = [];
globalThis.reportError = () => {}; // as in a page: the error is shown, and nothing ends
process.on('unhandledRejection', (error) => faults.push(error));
process.on('uncaughtException', (error) => faults.push(error));

beforeEach(begin);
afterEach(end);
after(() => assert.deepEqual(faults, []));

/** Nothing was thrown anywhere, and all objects are as before. */
async function assertUnharmed() {
  await settle();
  assert.deepEqual(faults, []);
  assert.deepEqual(Object.getOwnPropertyNames(Object.prototype), INHERITED);
  assert.deepEqual(INHERITED.map((name) => Object.getOwnPropertyDescriptor(Object.prototype, name)), pristine);
}

// Input.

const evil = fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'getLength', 'forEach', '');
const userid = fc.oneof(fc.constantFrom('alice', 'mallory', 'me', 'Ben%20L'), evil);
const text = fc.oneof(userid, fc.string(), fc.constantFrom('x'.repeat(100_000), '\ud800', '1-5', '99-1', 'offer', 'answer', 'stop'));
const scalar = fc.oneof(text, fc.constantFrom(null, true, false, 0, -1, 1e308), fc.double());
const deep = fc.integer({ min: 1, max: 2000 }).map((levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)));
const json = fc.oneof({ weight: 4, arbitrary: scalar }, fc.array(scalar), fc.jsonValue(), fc.dictionary(text, scalar), deep);

/** An object of which any field may be missing, or be of another form. */
function near(fields) {
  const each = Object.entries(fields).map(([name, value]) => [name, fc.oneof({ weight: 3, arbitrary: value }, json)]);
  return fc.record(Object.fromEntries(each), { requiredKeys: [] });
}

const preferences = near({ session: near({ oneway: scalar }), isDataOnly: fc.boolean(), localPeerSdpConstraints: near({ OfferToReceiveAudio: scalar }) });
const signalMessage = fc.oneof(
  fc.constant('dropPeerConnection'),
  near({ type: fc.constantFrom('offer', 'answer'), sdp: text, renegotiatingPeer: fc.boolean() }),
  near({ candidate: text, sdpMid: text }),
  near({ streamSyncNeeded: fc.constant(true), streamid: fc.constantFrom('of-alice', 'of-me', '__proto__', 'selectFirst'), action: fc.constantFrom('ended', 'mute', 'stop', 'constructor'), type: text }),
  near({ allParticipants: fc.array(userid) }),
  near({ newParticipant: userid, userPreferences: preferences }),
  near({ readyForOffer: fc.boolean(), enableMedia: fc.boolean(), userPreferences: preferences }),
  near({ newParticipationRequest: fc.constant(true), isOneWay: scalar, remotePeerSdpConstraints: json }),
  near({ userLeft: fc.constant(true), autoCloseEntireSession: fc.constant(true) }),
  json,
);
const signal = fc.oneof(near({ sender: userid, remoteUserId: userid, message: signalMessage, extra: near({ name: text }) }), json);
const sent = fc.oneof(
  near({ event: fc.constant('signal'), values: fc.tuple(signal) }),
  near({ event: fc.constantFrom('user-disconnected', 'extra-data-updated', 'closed-entire-session', 'disconnect', 'own'), values: fc.array(json) }),
  near({ event: text, values: fc.array(json) }),
  json,
);

// RTCMultiConnection 3.

/** The library as far as the socket sees it; it keeps the users of its calls, and fails like the library on odd input. */
function library() {
  const acts = [];
  const act = (name) => (...values) => acts.push([name, ...values]);
  const stream = { mute: act('mute'), unmute: act('unmute'), stop: act('stop'), constructor: act('constructor') };
  return {
    acts,
    userid: 'me', sessionid: 'r', socketMessageEvent: 'signal', extra: {}, attachStreams: [], waitingForLocalMedia: true,
    session: { audio: true }, sdpConstraints: { mandatory: {} },
    peers: { alice: { extra: {} }, getLength: act('getLength'), forEach: act('forEach') },
    peersBackup: {},
    streamEvents: {
      'of-alice': { stream, userid: 'alice' }, 'of-me': { stream, userid: 'me' }, selectFirst: act('selectFirst'),
    },
    multiPeersHandler: {
      addNegotiatedMessage(message, sender) {
        if (message.enableMedia) message.userPreferences.session.oneway; // it reads on
        act('negotiated')(sender);
      },
      createNewPeer: act('create'), renegotiatePeer: act('renegotiate'), onUserLeft: act('left'),
    },
    deletePeer: act('delete'), leave: act('leave'), onEntireSessionClosed: act('closed'), onExtraDataUpdated: act('extra'),
    onNewParticipant: act('admit'), onUserStatusChanged: act('status'), onstreamended: act('ended'),
    onSocketDisconnect() {}, onSocketError() {},
  };
}

/** A session that `me` has opened before all others came, or joined when alice was there. */
async function session({ opened }) {
  FakeSocket.made = [];
  const connection = library();
  const relay = client();
  new relay.socketHandler(connection);
  connection.socket.emit(opened ? 'open-room' : 'join-room', { sessionid: 'r' });
  await settle();
  const members = opened ? [{ peer: 'me' }] : [{ peer: 'alice' }, { peer: 'me' }];
  FakeSocket.last.welcome({ first: opened, members, count: members.length });
  await settle();
  let number = 1;
  const say = (frame) => FakeSocket.last.say({ ...frame, id: `1-${++number}` });
  for (const peer of opened ? ['alice', 'mallory'] : ['mallory']) say({ type: 'presence', joined: [peer], left: [] });
  connection.acts.length = 0;
  return { connection, say, relay };
}

const IN_ITS_NAME = new Set(['negotiated', 'delete', 'left', 'admit', 'renegotiate']);
const NEVER = new Set(['stop', 'constructor', 'getLength', 'forEach', 'selectFirst', 'leave', 'closed']);

test('a user of RTCMultiConnection acts in no name but its own', async () => {
  await fc.assert(fc.asyncProperty(fc.boolean(), fc.array(sent, { minLength: 1, maxLength: 5 }), async (opened, messages) => {
    const { connection, say, relay } = await session({ opened });
    for (const message of messages) {
      say({ from: 'mallory', channel: 'rtcmulticonnection', message });
      pass(50);
    }
    await assertUnharmed();
    for (const [name, first, second] of connection.acts) {
      assert.ok(!NEVER.has(name), name);
      if (IN_ITS_NAME.has(name)) assert.equal(first, 'mallory', name);
      if (name === 'admit') assert.deepEqual([second.connectionDescription.sender, second.connectionDescription.remoteUserId], ['mallory', 'me']);
      if (name === 'create') assert.ok(['alice', 'mallory'].includes(first), String(first));
      if (name === 'extra') assert.equal(first.userid, 'mallory');
      if (['mute', 'unmute', 'ended'].includes(name)) assert.fail(`${name} of a stream that is not mallory's`);
    }
    assert.deepEqual(Object.keys(connection.peers), ['alice', 'getLength', 'forEach']);
    assert.deepEqual(Object.keys(connection.peersBackup), []);
    relay.drop();
  }));
});

test('users whose ids are properties of every object, or methods of the library, are no users', async () => {
  await fc.assert(fc.asyncProperty(evil.filter(Boolean), sent, async (name, message) => {
    const { connection, say } = await session({ opened: true });
    say({ type: 'presence', joined: [name], left: [] });
    say({ from: name, channel: 'rtcmulticonnection', message });
    say({ type: 'presence', joined: [], left: [name] });
    await assertUnharmed();
    assert.deepEqual(connection.acts, []);
  }));
});

// Frames of the relay, or of another server at its address.

const id = fc.tuple(fc.nat(9), fc.nat(99)).map((parts) => parts.join('-'));
const frame = fc.oneof(
  near({ from: userid, id, channel: text, message: json, to: json }),
  near({ type: fc.constant('welcome'), room: fc.constant('r'), peer: fc.constant('me'), id, resume: text, members: fc.array(near({ peer: text, info: json })), count: fc.nat(9), recovered: fc.boolean() }),
  near({ type: fc.constant('presence'), joined: fc.array(text), left: fc.array(text), changed: fc.array(text), info: fc.dictionary(text, json), id }),
  near({ type: fc.constant('presence'), members: fc.array(near({ peer: text })), count: fc.nat(9) }),
  near({ type: fc.constant('error'), code: fc.constantFrom('too_fast', 'messages_lost', 'peer_taken', 'too_many_channels'), text, key: text, about: fc.constantFrom('join', 'info'), reason: text }),
  near({ type: fc.constantFrom('ack', 'pong', 'info', 'recovered', 'subscriptions', 'left'), key: text, id, replayed: fc.nat(9) }),
  json,
).map((value) => JSON.stringify(value));

test('frames of any form throw nothing', async () => {
  await fc.assert(fc.asyncProperty(fc.boolean(), fc.array(fc.oneof(frame, fc.string()), { maxLength: 8 }), async (welcomed, frames) => {
    FakeSocket.made = [];
    const relay = client();
    const room = relay.join('r');
    room.ready.catch(() => {});
    const heard = [];
    for (const name of ['message', 'join', 'change', 'leave']) room.on(name, (event) => heard.push(event.from ?? event.peer));
    if (welcomed) FakeSocket.last.welcome();
    for (const one of frames) {
      assert.doesNotThrow(() => FakeSocket.last.say(one));
      room.send('x').catch(() => {});
    }
    assert.ok(room.members.every((peer) => typeof peer === 'string'));
    assert.ok(heard.every((name) => typeof name === 'string'));
    assert.doesNotThrow(() => FakeSocket.last.end(1006));
    pass(60_000);
    await assertUnharmed();
    room.leave();
  }));
});

test('a frame is an object, or unreadable', () => {
  fc.assert(fc.property(fc.oneof(frame, fc.string()), (one) => {
    const read = parseFrame(one);
    assert.ok(read === undefined || (typeof read === 'object' && read !== null && !Array.isArray(read)));
  }));
});

// A call.

class FakeConnection {
  static made = [];
  signalingState = 'stable';
  connectionState = 'new';
  remoteDescription = null;

  constructor() {
    FakeConnection.made.push(this);
  }

  createDataChannel() {}
  restartIce() {}
  getSenders() { return []; }
  async setLocalDescription() { this.localDescription = { type: 'answer', sdp: '' }; }

  async setRemoteDescription(description) {
    if (!['offer', 'answer'].includes(description.type) || typeof description.sdp !== 'string') throw new TypeError('a description');
    this.remoteDescription = description;
  }

  async addIceCandidate(candidate) {
    if (typeof candidate !== 'object') throw new TypeError('a candidate');
  }

  close() { this.signalingState = 'closed'; }
}

test('a member of a call ends no connection but its own', async () => {
  globalThis.RTCPeerConnection = FakeConnection;
  const mark = fc.constantFrom('mark-of-alice', 'other');
  const words = near({ hello: mark, bye: json, by: mark, to: mark, description: near({ type: fc.constantFrom('offer', 'answer'), sdp: text }), candidate: near({ candidate: text }) });
  await fc.assert(fc.asyncProperty(fc.array(fc.oneof(words, json), { maxLength: 6 }), async (messages) => {
    FakeSocket.made = [];
    const relay = client();
    const mesh = relay.mesh(relay.join('r'));
    const gone = [];
    mesh.on('gone', ({ peer }) => gone.push(peer));
    mesh.on('error', ({ peer }) => assert.equal(peer, 'mallory'));
    FakeSocket.last.welcome();
    await settle();
    FakeSocket.last.say({ from: 'alice', id: '1-2', channel: 'relay.mesh', message: { hello: 'mark-of-alice' } });
    const own = FakeSocket.last.frames('publish').map(({ envelope }) => envelope.message.hello).find(Boolean);
    messages.forEach((message, index) => {
      const known = message && typeof message === 'object' && index % 2 ? { ...message, to: own } : message;
      FakeSocket.last.say({ from: 'mallory', id: `1-${index + 3}`, channel: 'relay.mesh', message: known });
    });
    await assertUnharmed();
    assert.ok(mesh.connections.has('alice'));
    assert.ok(gone.every((peer) => peer === 'mallory'));
    mesh.close();
  }));
  delete globalThis.RTCPeerConnection;
});

// Channels of older libraries, and values that other scripts of the origin have stored.

test('messages on any channel reach only the handler of that channel', async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(json, json), { maxLength: 5 }), async (messages) => {
    FakeSocket.made = [];
    const relay = client();
    const heard = [];
    relay.openSignalingChannel({ channel: 'constructor', onmessage: (message) => heard.push(message) });
    await settle();
    FakeSocket.last.welcome();
    await settle();
    messages.forEach(([channel, message], index) => FakeSocket.last.say({ from: 'x', id: `1-${index + 2}`, channel, message }));
    await assertUnharmed();
    assert.equal(heard.length, messages.filter(([channel]) => channel === 'constructor').length);
  }));
});

test('a key is one that a subprotocol can carry, also if the storage has other texts', async () => {
  const stored = near({ key: text, lock: text, at: fc.double() }).map((value) => JSON.stringify(value));
  await fc.assert(fc.asyncProperty(fc.oneof(stored, fc.string()), async (content) => {
    const entries = new Map([['relay.js slot', content]]);
    const storage = { getItem: (name) => entries.get(name) ?? null, setItem: (name, value) => entries.set(name, value), removeItem: (name) => entries.delete(name) };
    const locks = { request: async (name, options, callback) => { assert.equal(typeof name, 'string'); return callback({}); } };
    const key = await new StoredKeys(storage, locks).take('slot', () => 'k');
    assert.match(key, /^[\w.~-]{0,64}$/);
    await assertUnharmed();
  }));
});
