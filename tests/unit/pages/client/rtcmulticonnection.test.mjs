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
