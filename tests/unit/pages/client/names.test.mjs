// Names of any text; tests/unit/model/test_names.py has the same texts and escaped names.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { escapeName, unescapeName } from '../../../../relay/pages/client/names.js';
import { Relay } from '../../../../relay/pages/client/relay.js';
import { FakeSocket, begin, client, end, listen, pass } from './relay.mjs';

beforeEach(begin);
afterEach(end);

const TEXTS = [
  [' ', '%20'], ['a b', 'a%20b'], ['a%20b', 'a%2520b'], ['a%', 'a%25'], ['a~20b', 'a~20b'], ['a/b', 'a%2Fb'],
  ['../x', '..%2Fx'], ['{a}', '%7Ba%7D'], ['é', '%C3%A9'], ['e\u0301', 'e%CC%81'],
  ['Привет', '%D0%9F%D1%80%D0%B8%D0%B2%D0%B5%D1%82'], ['\u{1f600}', '%F0%9F%98%80'], ['a"b', 'a%22b'], ["a'b", 'a%27b'],
  ['a\\b', 'a%5Cb'], ['a,b', 'a%2Cb'], ['a?b#c&d', 'a%3Fb%23c%26d'], ['\u202e', '%E2%80%AE'],
  ['A-b.c_d~e', 'A-b.c_d~e'], ['(*)!+;=:@', '(*)!+;=:@'], ['$server', '%24server'],
];

test('a text and its escaped name', () => {
  for (const [text, name] of TEXTS) {
    assert.equal(escapeName(text), name);
    assert.equal(unescapeName(name), text);
    assert.deepEqual([Relay.escape(text), Relay.unescape(name)], [name, text]);
  }
  assert.equal(unescapeName('$server'), '$server');
  assert.equal(unescapeName('%'), '%');
});

test('a room of any text: text in the address and for the page, the escaped name in frames', () => {
  const relay = client('ws://relay', { peer: 'Анна K' });
  const room = relay.join('a b/%20');
  const other = relay.join('c d');
  assert.equal(FakeSocket.last.url.pathname, '/rooms/a%20b%2F%2520');
  assert.equal(FakeSocket.last.url.searchParams.get('peer'), 'Анна K');
  assert.throws(() => relay.join('a b/%20'), { code: 'already_joined' });
  FakeSocket.last.welcome();
  assert.deepEqual([room.name, room.peer], ['a b/%20', '%D0%90%D0%BD%D0%BD%D0%B0%20K']);
  const [join] = FakeSocket.last.frames('join');
  assert.equal(join.room, 'c%20d');
  FakeSocket.last.say({ type: 'welcome', key: join.key, peer: room.peer, room: 'c%20d', id: '2-1', first: true, resume: 'k' });
  assert.deepEqual([other.name, other.connected], ['c d', true]);
  const events = listen(other);
  FakeSocket.last.say({ from: 'e%20f', room: 'c%20d', id: '2-2', message: 'to the other room' });
  other.send('x').catch(() => {});
  assert.equal(FakeSocket.last.frames('publish')[0].room, 'c%20d');
  assert.deepEqual(events, [['message', 'to the other room']]);
  assert.throws(() => relay.join('c d'), { code: 'already_joined' });
  FakeSocket.last.end(1006);
  pass(250);
  assert.equal(FakeSocket.last.url.searchParams.get('peer'), 'Анна K');
  assert.equal(FakeSocket.last.url.pathname, '/rooms/a%20b%2F%2520');
});

test('the default room is named by its welcome', () => {
  const { channel } = client().openSocket({ channel: 'c' });
  FakeSocket.last.welcome({ room: 'main%20hall' });
  assert.equal(channel, 'c');
});

test('half a surrogate pair names nobody', () => {
  for (const peer of ['', 5, '\ud83d']) {
    assert.throws(() => client().join('r', { peer }), { code: 'bad_peer' });
  }
  assert.throws(() => client().join('\ud83d'), { code: 'bad_room' });
});
