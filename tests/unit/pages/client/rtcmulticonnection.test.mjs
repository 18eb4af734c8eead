// The socket of RTCMultiConnection 3. tests/browser shows that its calls work.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, pass, settle } from './relay.mjs';

beforeEach(begin);
afterEach(end);

function connect() {
  const relay = client();
  const connection = { userid: 'me', socketMessageEvent: 'message', peers: {} };
  new relay.socketHandler(connection);
  return { relay, socket: connection.socket };
}

test('a disconnect while a room is opened leaves the room', async () => {
  const { relay, socket } = connect();
  const answers = [];
  socket.emit('open-room', { sessionid: 'r' }, (...answer) => answers.push(answer));
  await settle();
  socket.disconnect();
  await settle();
  assert.equal(FakeSocket.last.closed, 1000);
  assert.deepEqual([relay.rooms, answers], [[], [[false, 'this client has left the room']]]);
});

test('joining a session fails for the first member of the room', async () => {
  const { relay, socket } = connect();
  const answers = [];
  socket.emit('join-room', { sessionid: 'r' }, (...answer) => answers.push(answer));
  await settle();
  FakeSocket.last.welcome();
  await settle();
  assert.deepEqual(answers, [[false, 'Room not available']]);
  pass(2000);
  await settle();
  assert.deepEqual(relay.rooms, []);
});

test('the library knows sessions and users by text, and frames have their escaped names', async () => {
  const relay = client();
  const connection = { userid: 'Анна K', socketMessageEvent: 'message', peers: {}, extra: {} };
  const statuses = [];
  connection.onUserStatusChanged = ({ userid, status }) => statuses.push([userid, status]);
  const gone = [];
  connection.deletePeer = (userid) => gone.push(userid);
  new relay.socketHandler(connection);
  connection.socket.emit('open-room', { sessionid: 'main hall/2' });
  await settle();
  assert.equal(FakeSocket.last.url.pathname, '/rooms/main%20hall%2F2');
  FakeSocket.last.welcome();
  await settle();
  FakeSocket.last.say({ type: 'presence', joined: ['Ben%20L'], left: [], id: '1-2' });
  connection.socket.emit('message', { remoteUserId: 'Ben L', message: {} });
  assert.equal(FakeSocket.last.frames('publish')[0].envelope.to, 'Ben%20L');
  FakeSocket.last.say({ type: 'presence', joined: [], left: ['Ben%20L'], id: '1-3' });
  assert.deepEqual([statuses, gone], [[['Ben L', 'online'], ['Ben L', 'offline']], ['Ben L']]);
});

test('a session that is opened with a password gets it, or is not opened', async () => {
  const open = async (frame) => {
    const { relay, socket } = connect();
    const answers = [];
    socket.emit('open-room', { sessionid: 'r', password: 1234 }, (...answer) => answers.push(answer));
    await settle();
    assert.equal(FakeSocket.last.protocols[2], 'password.MTIzNA');
    FakeSocket.last.welcome();
    await settle();
    const [{ set, key }] = FakeSocket.last.frames('rules');
    assert.deepEqual(set, { password: '1234' });
    FakeSocket.last.say({ key, ...frame });
    await settle();
    pass(2000);
    await settle();
    return { answers, rooms: relay.rooms.length, socket };
  };
  const { socket, ...opened } = await open({ type: 'rules', rules: { password: true } });
  assert.deepEqual(opened, { answers: [[true]], rooms: 1 });
  const answers = [];
  socket.emit('set-password', '', (...answer) => answers.push(answer));
  FakeSocket.last.say({ type: 'rules', rules: {}, key: FakeSocket.last.frames('rules').at(-1).key });
  await settle();
  socket.emit('is-valid-password', '1234', 'r', (...answer) => answers.push(answer.slice(0, 2)));
  assert.deepEqual(answers, [[true, undefined, null], [false, 'r']]);
  assert.deepEqual(FakeSocket.last.frames('publish'), []);
  const { answers: refused, rooms } = await open({ type: 'error', code: 'not_owner', text: 'no' });
  assert.deepEqual({ refused, rooms }, { refused: [[false, 'Room permission denied']], rooms: 0 });
});

test('a session with another password is not joined', async () => {
  const { relay, socket } = connect();
  const answers = [];
  socket.emit('join-room', { sessionid: 'r', password: 'wrong' }, (...answer) => answers.push(answer));
  await settle();
  FakeSocket.last.say({ type: 'error', about: 'join', code: 'bad_password', text: 'no' });
  FakeSocket.last.end(4505, 'not_admitted');
  await settle();
  assert.deepEqual([answers, relay.rooms], [[[false, 'Invalid password']], []]);
});

test('the token of the relay object is that of its sessions', async () => {
  const connection = { userid: 'me', socketMessageEvent: 'message', peers: {} };
  new (client('ws://relay', { token: async () => 't' }).socketHandler)(connection);
  connection.socket.emit('join-room', { sessionid: 'r' });
  await settle();
  assert.equal(FakeSocket.last.protocols[2], 'token.t');
});

/** A library that notes its calls; it is in a session that it has opened, or joined after alice. */
async function member({ opened = false } = {}) {
  const acts = [];
  const act = (name) => (...values) => acts.push([name, ...values.map((value) => value?.userid ?? value?.sdp ?? value)]);
  const names = ['deletePeer', 'leave', 'onEntireSessionClosed', 'onExtraDataUpdated', 'onstreamended', 'onUserStatusChanged'];
  const peers = { addNegotiatedMessage: act('negotiated'), createNewPeer: act('create'), onUserLeft: act('left') };
  const stream = { mute: act('mute'), stop: act('stop') };
  const connection = {
    userid: 'me', sessionid: 'r', socketMessageEvent: 'message', extra: {}, attachStreams: [], session: {},
    sdpConstraints: { mandatory: {} }, peers: { alice: { extra: {} } }, peersBackup: {}, multiPeersHandler: peers,
    streamEvents: { theirs: { stream, userid: 'alice' } }, ...Object.fromEntries(names.map((name) => [name, act(name)])),
  };
  const relay = client();
  new relay.socketHandler(connection);
  connection.socket.emit(opened ? 'open-room' : 'join-room', { sessionid: 'r' });
  await settle();
  const members = opened ? [{ peer: 'me' }] : [{ peer: 'alice' }, { peer: 'me' }];
  FakeSocket.last.welcome({ first: opened, members, count: members.length });
  await settle();
  let number = 1;
  const say = (frame) => FakeSocket.last.say({ id: `1-${++number}`, ...frame });
  for (const peer of opened ? ['alice', 'mallory'] : ['mallory']) say({ type: 'presence', joined: [peer], left: [] });
  acts.length = 0;
  const hear = (from, event, ...values) => say({ from, channel: 'rtcmulticonnection', message: { event, values } });
  return { acts, connection, hear };
}

test('a signal is of the user that the relay names, not of the sender that it names itself', async () => {
  const { acts, hear } = await member();
  hear('mallory', 'message', { sender: 'alice', remoteUserId: 'me', message: { type: 'answer', sdp: 'v=0' } });
  hear('mallory', 'message', { sender: 'alice', message: 'dropPeerConnection' });
  hear('mallory', 'user-disconnected', 'alice');
  hear('mallory', 'extra-data-updated', 'alice', { name: 'not alice' });
  assert.deepEqual(acts, [['negotiated', 'v=0', 'mallory'], ['deletePeer', 'mallory'], ['deletePeer', 'mallory']]);
});

test('a stream is changed by its own user, and only muted, unmuted or ended', async () => {
  const { acts, hear } = await member();
  const change = (from, action) => hear(from, 'message', { message: { streamSyncNeeded: true, streamid: 'theirs', action, type: 'audio' } });
  change('mallory', 'ended');
  change('mallory', 'mute');
  change('alice', 'stop');
  assert.deepEqual(acts, []);
  change('alice', 'mute');
  change('alice', 'ended');
  assert.deepEqual(acts, [['mute', 'audio'], ['onstreamended', 'alice']]);
});

test('a session is closed by a user that was in it before, and by no later one', async () => {
  const joined = await member();
  for (const from of ['mallory', 'alice']) {
    joined.hear(from, 'closed-entire-session', 'r', {});
    joined.hear(from, 'message', { message: { userLeft: true, autoCloseEntireSession: true } });
  }
  assert.deepEqual(joined.acts, [['left', 'mallory'], ['leave'], ['onEntireSessionClosed', 'r'], ['left', 'alice'], ['leave']]);
  const opener = await member({ opened: true });
  for (const from of ['mallory', 'alice']) opener.hear(from, 'closed-entire-session', 'r', {});
  assert.deepEqual(opener.acts, []);
});

test('a session that the relay closes, or puts this user out of, is over', async () => {
  for (const frame of [{ type: 'closed' }, { type: 'kicked', peer: 'me' }]) {
    const { acts } = await member();
    FakeSocket.last.say({ id: '1-9', ...frame });
    assert.deepEqual(acts, [['leave'], ['onEntireSessionClosed', 'r']]);
  }
});

test('an id that is a property of every object is that of no user, and pollutes nothing', async () => {
  const { acts, connection, hear } = await member();
  for (const name of ['__proto__', 'constructor']) {
    FakeSocket.last.say({ type: 'presence', joined: [name], left: [], id: `1-${name.length}0` });
    hear(name, 'message', { message: { userLeft: true }, extra: { polluted: true } });
    hear(name, 'extra-data-updated', name, { polluted: true });
    hear('mallory', 'message', { sender: name, message: { allParticipants: [name, 'nobody', 7] }, extra: { polluted: true } });
    hear('mallory', 'message', { message: { newParticipant: name } });
  }
  assert.equal({}.polluted ?? {}.extra, undefined);
  assert.deepEqual(acts.map(([name, user]) => [name, user]).filter(([, user]) => user !== 'mallory'), []);
  assert.deepEqual(Object.keys(connection.peers), ['alice']);
});

test('a message that is no signal is ignored', async () => {
  const { acts, hear } = await member();
  for (const value of [undefined, null, 7, 'text', [], {}, { message: null }, { message: 7 }, { message: {} }, { message: { type: 'offer', sdp: 7 } }]) {
    hear('mallory', 'message', value);
  }
  for (const name of ['disconnect', 'error', 'user-connected']) hear('mallory', name, {});
  assert.deepEqual(acts, []);
});
