// This client’s own info, and the infos of the others.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { OwnInfo } from '../../../../relay/pages/client/info.js';
import { FakeSocket, begin, client, end, pass, settle } from './relay.mjs';

beforeEach(begin);
afterEach(end);

/** Whether a promise is resolved by now. */
async function done(promise) {
  return (await Promise.race([promise.then(() => true), settle().then(() => false)])) === true;
}

test('an info that was offered is not sent again', () => {
  const info = new OwnInfo({ a: 1 });
  assert.equal(info.offer(), '{"a":1}');
  info.welcomed();
  assert.equal(info.command(''), undefined);
  const none = new OwnInfo();
  assert.equal(none.offer(), '');
  none.welcomed();
  assert.equal(none.command(''), undefined);
});

test('of several changes the newest is sent', async () => {
  const info = new OwnInfo();
  info.welcomed();
  const first = info.change({ n: 0 });
  const command = info.command('room');
  assert.deepEqual([command.type, command.info, command.room], ['info', { n: 0 }, 'room']);
  const [second, third] = [info.change({ n: 1 }), info.change({ n: 2 })];
  assert.equal(info.command(''), undefined);
  info.answered('another');
  assert.equal(await done(first), false);
  info.answered(command.key);
  assert.deepEqual([await done(first), await done(second)], [true, false]);
  const next = info.command('');
  assert.deepEqual([next.info, next.room], [{ n: 2 }, undefined]);
  info.answered(next.key);
  assert.deepEqual([await done(second), await done(third)], [true, true]);
});

test('a change without a connection is a part of the next join, a removal follows the welcome', async () => {
  const info = new OwnInfo({ n: 0 });
  const change = info.change({ n: 1 });
  assert.equal(info.offer(), '{"n":1}');
  info.welcomed();
  assert.equal(await done(change), true);
  const removal = info.change(null);
  assert.equal(info.offer(), '');
  info.welcomed();
  assert.equal(await done(removal), false);
  const command = info.command('');
  assert.equal(command.info, null);
  info.answered(command.key);
  assert.equal(await done(removal), true);
});

test('an info that the relay would refuse is not sent', async () => {
  const room = client().join('r', { info: { a: 1 } });
  FakeSocket.last.welcome();
  const nested = (levels) => (levels === 1 ? {} : { a: nested(levels - 1) });
  for (const bad of [[1], 'x', 5, () => {}, { text: 'é'.repeat(600) }, nested(17), { a: nested(500) }, { $token: {} }]) {
    await assert.rejects(room.setInfo(bad), { code: 'bad_info' });
    assert.throws(() => client().join('other', { info: bad }), { code: 'bad_info' });
  }
  assert.equal(FakeSocket.made[0].frames('info').length, 0);
});

test('a room gives its info with each connection, and changes it', async () => {
  const room = client().join('r', { info: { n: 0 } });
  assert.equal(FakeSocket.last.url.searchParams.get('info'), '{"n":0}');
  FakeSocket.last.welcome();
  const change = room.setInfo({ n: 1 });
  const [{ key, info }] = FakeSocket.last.frames('info');
  assert.deepEqual(info, { n: 1 });
  FakeSocket.last.say({ type: 'info', info, key });
  assert.equal(await done(change), true);
  FakeSocket.last.end(1006);
  const later = room.setInfo({ n: 2 });
  pass(250);
  assert.equal(FakeSocket.last.url.searchParams.get('info'), '{"n":2}');
  FakeSocket.last.welcome({ recovered: true });
  assert.equal(await done(later), true);
});

test('a change that comes too fast is sent again after a pause; one that is refused fails', async () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  const change = room.setInfo({ n: 1 });
  const error = (code) => FakeSocket.last.say({ type: 'error', code, text: 'no', about: 'info', key: FakeSocket.last.frames('info').at(-1).key });
  error('too_fast');
  assert.equal(FakeSocket.last.frames('info').length, 1);
  pass(250 + 50);
  assert.equal(FakeSocket.last.frames('info').length, 2);
  error('bad_info');
  await assert.rejects(change, { code: 'bad_info' });
  pass(5000);
  assert.equal(FakeSocket.last.frames('info').length, 2);
  const last = room.setInfo({ n: 2 });
  FakeSocket.last.end(4500, 'replaced');
  await assert.rejects(last, { code: 'replaced' });
  await assert.rejects(room.setInfo({ n: 3 }), { code: 'replaced' });
});

test('a relay that knows no infos refuses the change', async () => {
  const room = client().join('r');
  FakeSocket.last.welcome();
  const change = room.setInfo({ n: 1 });
  FakeSocket.last.say({ type: 'error', code: 'unknown_command', text: 'no such type', key: FakeSocket.last.frames('info')[0].key });
  await assert.rejects(change, { code: 'unknown_command' });
});

test('rooms that share a connection have infos of their own', async () => {
  const relay = client();
  const [one, two] = [relay.join('one', { info: { n: 1 } }), relay.join('two', { info: { n: 2 } })];
  const { last } = FakeSocket;
  last.welcome();
  const [join] = last.frames('join');
  assert.deepEqual(join.info, { n: 2 });
  last.say({ type: 'welcome', peer: 'me', room: 'two', id: '2-1', resume: 'k', first: false, key: join.key });
  const changes = [one.setInfo({ n: 3 }), two.setInfo(null)];
  const frames = last.frames('info');
  assert.deepEqual(frames.map(({ room, info }) => [room, info]), [[undefined, { n: 3 }], ['two', null]]);
  // An error may lack the room: its key identifies the room.
  last.say({ type: 'error', code: 'unavailable', text: '', about: 'info', key: frames[1].key });
  last.say({ type: 'info', info: { n: 3 }, key: frames[0].key });
  assert.deepEqual([await done(changes[0]), await done(changes[1])], [true, false]);
  pass(500);
  const again = last.frames('info').at(-1);
  assert.equal(again.room, 'two');
  last.say({ type: 'info', info: null, key: again.key, room: 'two' });
  assert.equal(await done(changes[1]), true);
});

test('members have infos, which change', () => {
  const room = client().join('r');
  const events = [];
  for (const name of ['join', 'change', 'leave']) room.on(name, ({ peer, info }) => events.push([name, peer, info]));
  FakeSocket.last.welcome({ members: [{ peer: 'me', info: { n: 0 } }, { peer: 'a', info: { n: 1 } }], count: 2 });
  assert.deepEqual([...room.infos], [['me', { n: 0 }], ['a', { n: 1 }]]);
  const presence = (id, more) => FakeSocket.last.say({ type: 'presence', joined: [], left: [], id, ...more });
  presence('1-2', { joined: ['b'], info: { b: { n: 2 } } });
  presence('1-3', { changed: ['a', 'b', 'me'], info: { a: { n: 3 }, b: null, me: { n: 4 } } });
  presence('1-4', { left: ['a'], changed: ['z'], info: { z: {} } });
  presence('1-5', { members: [{ peer: 'me' }, { peer: 'b', info: { n: 5 } }], count: 2 });
  assert.deepEqual(events, [
    ['join', 'b', { n: 2 }], ['change', 'a', { n: 3 }], ['change', 'b', undefined], ['leave', 'a', undefined],
    ['join', 'z', {}], ['leave', 'z', undefined], ['change', 'b', { n: 5 }],
  ]);
  assert.deepEqual([...room.infos], [['b', { n: 5 }]]);
});
