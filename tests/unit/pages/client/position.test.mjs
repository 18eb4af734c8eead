// A client’s position in a room.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Position } from '../../../../relay/pages/client/position.js';

let position;
beforeEach(() => { position = new Position(); });

const welcome = (id, more = {}) => position.welcome({ type: 'welcome', peer: 'me', room: 'r', id, resume: `key-${id}`, ...more });
const say = (id) => position.receive({ from: 'a', id, message: id });
const names = (events) => events.map(([name, { peer, message, code }]) => [name, peer ?? message ?? code]);

test('a first welcome opens the room, without a join event for each member', () => {
  const events = welcome('5-1', { first: true, members: [{ peer: 'me' }], count: 1 });
  assert.deepEqual(events, [['open', { first: true }]]);
  assert.deepEqual([...position.members], ['me']);
  assert.equal(position.resume, 'key-5-1');
});

test('ids are compared as numbers, and old messages are dropped', () => {
  welcome('5-1');
  assert.deepEqual(names(say('5-9')), [['message', '5-9']]);
  assert.deepEqual(names(say('5-10')), [['message', '5-10']]);
  assert.deepEqual(say('5-10'), []);
  assert.deepEqual(say('5-9'), []);
  assert.deepEqual(say('nonsense'), []);
  assert.equal(position.duplicates, 3);
  assert.deepEqual(names(say('6-1')), [['message', '6-1']]);
  assert.equal(position.id, '6-1');
});

test('acknowledgements and pongs advance the position', () => {
  welcome('5-1');
  position.receive({ type: 'ack', key: 'k', id: '5-4' });
  assert.equal(position.id, '5-4');
  position.receive({ type: 'pong', id: '5-6' });
  assert.equal(position.id, '5-6');
});

test('a recovered client gets the missed messages, then resumed', () => {
  welcome('5-1');
  assert.deepEqual(welcome('5-1', { recovered: true }), []);
  assert.deepEqual(names(say('5-2')), [['message', '5-2']]);
  assert.deepEqual(position.receive({ type: 'recovered', id: '5-3', replayed: 1 }), [['resumed', { replayed: 1, recovered: true }]]);
  assert.equal(position.id, '5-3');
});

test('a loss is reported, followed by leaves and joins', () => {
  welcome('5-7', { members: [{ peer: 'me' }, { peer: 'a' }], count: 2 });
  const events = welcome('4-1', { recovered: false, reason: 'epoch', members: [{ peer: 'me' }, { peer: 'b' }], count: 2 });
  assert.deepEqual(names(events), [
    ['error', 'messages_lost'], ['resumed', undefined], ['leave', 'a'], ['join', 'b'],
  ]);
  assert.equal(events[0][1].reason, 'epoch');
  assert.equal(position.id, '4-1');
  assert.deepEqual(names(position.receive({ type: 'error', code: 'messages_lost', reason: 'trimmed', id: '4-9' })), [['error', 'messages_lost']]);
});

test('a peer in both lists left and came back; a shortened list removes nobody', () => {
  welcome('5-1', { members: [{ peer: 'me' }, { peer: 'a' }], count: 2 });
  assert.deepEqual(names(position.receive({ type: 'presence', joined: ['a', 'b'], left: ['a'], id: '5-4' })), [['leave', 'a'], ['join', 'a'], ['join', 'b']]);
  assert.deepEqual(names(position.receive({ type: 'presence', members: [{ peer: 'c' }], count: 9 })), [['join', 'c']]);
  assert.deepEqual(names(position.receive({ type: 'presence', members: [{ peer: 'me' }], count: 1 })), [['leave', 'a'], ['leave', 'b'], ['leave', 'c']]);
});

test('the first key is chosen by the client, and each welcome has the next', () => {
  const own = position.resume;
  assert.match(own, /^[\w-]{22}$/);
  assert.notEqual(own, new Position().resume);
  welcome('5-1');
  assert.equal(position.resume, 'key-5-1');
});

test('only a late attempt of this client allows a reclaim, with the key of that attempt', () => {
  welcome('5-1');
  assert.equal(position.reclaim(), false);
  position.attemptUnanswered();
  welcome('5-2', { recovered: true });
  assert.equal(position.resume, 'key-5-2');
  assert.equal(position.reclaim(), true);
  assert.equal(position.resume, 'key-5-1');
  assert.equal(position.reclaim(), false);
});
