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
