// `openSignalingChannel` and `openSocket`.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, pass, settle } from './relay.mjs';

beforeEach(begin);
afterEach(end);

test('a channel opens in the default room, receives its own messages, and queues messages before the welcome', async () => {
  const heard = [];
  const opened = [];
  const socket = client().openSocket({ onmessage: (message) => heard.push(message), onopen: () => opened.push(true) });
  assert.equal(socket.channel, 'main-channel');
  socket.send('early');
  const { last } = FakeSocket;
  assert.equal(last.url.pathname, '/');
  assert.deepEqual(last.url.searchParams.getAll('channel'), ['main-channel']);
  assert.equal(last.url.searchParams.get('presence'), null);
  last.welcome();
  await settle();
  assert.deepEqual(opened, []);
  pass(1000);
  assert.deepEqual(opened, [true]);
  assert.deepEqual(last.frames('publish').map(({ envelope }) => [envelope.channel, envelope.message]), [['main-channel', 'early']]);
  last.say({ from: 'a', id: '1-2', channel: 'main-channel', message: { offer: 1 } });
  last.say({ from: 'a', id: '1-3', channel: 'other', message: 'not ours' });
  assert.deepEqual(heard, [{ offer: 1 }]);
});

test('without a channel in the options the library’s own is used, and the address names the room', () => {
  const connection = { channel: 4711, openSignalingChannel: client('ws://relay/rooms/a%2Bb').openSignalingChannel };
  assert.equal(connection.openSignalingChannel({}).channel, '4711');
  assert.equal(FakeSocket.last.url.pathname, '/rooms/a%2Bb');
});

test('a further channel is subscribed to, and opens after the answer', async () => {
  const relay = client();
  const opened = [];
  relay.openSocket({ channel: 'one' });
  FakeSocket.last.welcome();
  await settle();
  const two = relay.openSocket({ channel: 'two', onopen: () => opened.push('two') });
  two.send('come to two');
  // The subscription leaves before the first message on the channel.
  assert.deepEqual(FakeSocket.last.sent.map(({ type }) => type), ['subscribe', 'publish']);
  const [{ key, channels }] = FakeSocket.last.frames('subscribe');
  assert.deepEqual([channels, opened], [['two'], []]);
  FakeSocket.last.say({ type: 'subscribed', channels: ['one', 'two'], key });
  await settle();
  pass(1000);
  assert.deepEqual(opened, ['two']);
});

test('a channel whose subscription was lost with the connection is in the next address', async () => {
  const relay = client();
  const opened = [];
  relay.openSocket({ channel: 'one' });
  FakeSocket.last.welcome();
  await settle();
  relay.openSocket({ channel: 'two', onopen: () => opened.push('two') });
  await settle();
  FakeSocket.last.end(1006);
  pass(250);
  assert.deepEqual(FakeSocket.last.url.searchParams.getAll('channel'), ['one', 'two']);
  FakeSocket.last.welcome({ recovered: true });
  FakeSocket.last.say({ type: 'recovered', id: '1-2', replayed: 0 });
  await settle();
  pass(1000);
  assert.deepEqual(opened, ['two']);
});

test('channels that do not fit in an address are subscribed to after the welcome', async () => {
  const relay = client();
  for (let number = 0; number < 100; number++) relay.openSocket({ channel: `channel-with-a-long-name-${number}` });
  FakeSocket.last.welcome();
  await settle();
  FakeSocket.last.end(1006);
  pass(250);
  assert.deepEqual(FakeSocket.last.url.searchParams.getAll('channel'), []);
  FakeSocket.last.welcome({ recovered: true });
  assert.equal(FakeSocket.last.frames('subscribe')[0].channels.length, 100);
});

test('an address with the longest names, info and channels is one that the relay takes', () => {
  const name = '漢'.repeat(227);
  const info = { a: '漢'.repeat(338) };
  for (const channels of [['ж'.repeat(255)], ['a'.repeat(255), 'b'.repeat(255), 'c'.repeat(255)]]) {
    client(undefined, { peer: name }).join(name, { channels, echo: true, info });
    const { url } = FakeSocket.last;
    assert(`GET ${url.pathname}${url.search}&since=1795893918612-1000000 HTTP/1.1\r\n`.length <= 8192);
  }
});

test('beyond the limit of channels the relay sends all, and the client drops the others', async () => {
  const relay = client();
  const heard = [];
  relay.openSocket({ channel: 'one', onmessage: (message) => heard.push(message) });
  FakeSocket.last.welcome();
  await settle();
  relay.openSocket({ channel: 'two' });
  await settle();
  const [{ key }] = FakeSocket.last.frames('subscribe');
  FakeSocket.last.say({ type: 'error', code: 'too_many_channels', text: '', about: 'subscribe', key });
  assert.equal(FakeSocket.last.frames('unsubscribe').length, 1);
  FakeSocket.last.say({ from: 'a', id: '1-2', channel: 'three', message: 3 });
  FakeSocket.last.say({ from: 'a', id: '1-3', channel: 'one', message: 1 });
  assert.deepEqual(heard, [1]);
});

test('drop includes the connection of the channels', () => {
  const relay = client();
  relay.openSocket({ channel: 'one' });
  const { last: first } = FakeSocket;
  first.welcome();
  relay.drop();
  assert.equal(first.closed, 4001);
});

test('a refused room is reported, and is no unhandled rejection', async (context) => {
  const reported = [];
  globalThis.reportError = ({ code }) => reported.push(code);
  context.after(() => delete globalThis.reportError);
  const opened = [];
  const relay = client();
  for (const config of [{ channel: 'one', onopen: () => opened.push(true) }, { channel: 'two' }]) relay.openSocket(config);
  FakeSocket.last.end(4502, 'bad_request');
  await settle();
  pass(1000);
  assert.deepEqual([opened, reported], [[], ['bad_request', 'bad_request']]);
});
