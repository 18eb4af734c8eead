// The queue of unacknowledged envelopes.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Outbox } from '../../../../relay/pages/client/outbox.js';

let outbox;
beforeEach(() => { outbox = new Outbox({ size: 5, window: 3 }); });

const fill = (count) => Array.from({ length: count }, (_, n) => outbox.add({ n }));

/** The frames to send now: the number of each envelope, and of the one that it names. */
function sent(items) {
  const number = Object.fromEntries(items.map(({ key, envelope }) => [key, JSON.parse(envelope).n]));
  return [...outbox.frames('')].map((text) => JSON.parse(text)).map(({ envelope, after }) => [envelope.n, number[after]]);
}

test('a window of envelopes is sent, each after the one before that still waits', async () => {
  const items = fill(5);
  assert.deepEqual(sent(items), [[0, undefined], [1, 0], [2, 1]]);
  assert.deepEqual(sent(items), []);
  outbox.acknowledged(items[0].key, '1-2');
  assert.deepEqual(await items[0].done, { id: '1-2', key: items[0].key });
  assert.deepEqual(sent(items), [[3, 2]]);
  for (const { key } of items.slice(1, 4)) outbox.acknowledged(key, '1-3');
  assert.deepEqual(sent(items), [[4, undefined]]);
});

for (const code of ['not_joined', 'replaced', 'internal']) {
  test(`a client that may rejoin sends the envelope again after ${code}`, () => {
    const items = fill(1);
    sent(items);
    assert.equal(outbox.refused(items[0].key, code, ''), true);
    assert.deepEqual(sent(items), [[0, undefined]]);
  });
}

test('after a passing error an envelope and all later ones are sent again', () => {
  const items = fill(3);
  sent(items);
  assert.equal(outbox.refused(items[1].key, 'unavailable', ''), true);
  assert.deepEqual(sent(items), [[1, 0], [2, 1]]);
  assert.equal(outbox.refused(items[2].key, 'out_of_order', ''), true);
  assert.deepEqual(sent(items), [[2, 1]]);
  assert.equal(outbox.resent, 3);
});

test('envelopes that fail together cause one pause', () => {
  const items = fill(3);
  sent(items);
  assert.deepEqual(items.map(({ key }) => outbox.refused(key, 'too_fast', '')), [true, false, false]);
});

test('a new connection sends all again', () => {
  const items = fill(2);
  sent(items);
  outbox.acknowledged(items[0].key, '1-2');
  outbox.rewind();
  assert.deepEqual(sent(items), [[1, undefined]]);
});

test('a refused envelope ends, and later ones no longer name it', async () => {
  const items = fill(3);
  sent(items);
  assert.equal(outbox.refused(items[0].key, 'no_such_peer', 'not here'), false);
  await assert.rejects(items[0].done, { code: 'no_such_peer', text: 'not here' });
  // It named the refused one: no pause is needed.
  assert.equal(outbox.refused(items[1].key, 'out_of_order', ''), false);
  assert.deepEqual(sent(items), [[1, undefined], [2, 1]]);
  assert.equal(outbox.refused('unknown', 'unavailable', ''), false);
});

test('the queue is bounded', () => {
  fill(5);
  assert.throws(() => outbox.add({}), { code: 'queue_full' });
});

test('an envelope that is given up may have been sent, or not', async () => {
  const items = fill(5);
  sent(items);
  outbox.giveUp(items[0]);
  outbox.giveUp(items[4]);
  await assert.rejects(items[0].done, { code: 'not_acknowledged', possiblySent: true });
  await assert.rejects(items[4].done, { code: 'not_acknowledged', possiblySent: false });
  assert.equal(outbox.length, 3);
});

test('a string of many megabytes does not exceed the stack', () => {
  outbox.add({ message: 'x'.repeat(15_000_000), brackets: Array.from({ length: 300 }, () => []) });
  assert.equal(outbox.length, 1);
});

test('a key is the user’s or a new one; a waiting key cannot be used twice', () => {
  assert.equal(outbox.add({ key: 'mine' }).key, 'mine');
  assert.notEqual(outbox.add({}).key, outbox.add({}).key);
  assert.throws(() => outbox.add({ key: 'mine' }), { code: 'bad_envelope' });
  assert.throws(() => outbox.add({ key: 'x'.repeat(65) }), { code: 'bad_envelope' });
});

test('reserved fields are refused', () => {
  for (const name of ['from', 'id', 'room', 'type']) assert.throws(() => outbox.add({ [name]: 1 }), { code: 'reserved_field' });
});

test('frames name a room that is not the connection’s own', () => {
  const { key } = outbox.add({ message: '"}' });
  assert.deepEqual(JSON.parse([...outbox.frames('r')][0]), { type: 'publish', key, room: 'r', envelope: { message: '"}' } });
});

test('an envelope that nests too deep is refused before it is sent', () => {
  const nested = (levels) => (levels > 1 ? { message: JSON.parse('['.repeat(levels - 1) + ']'.repeat(levels - 1)) } : {});
  outbox.add(nested(256));
  outbox.add({ message: '['.repeat(1000), channel: '\\"[' });
  outbox.add({ message: Array.from({ length: 1000 }, () => [{}]) });
  for (const levels of [257, 1000]) assert.throws(() => outbox.add(nested(levels)), { code: 'bad_json' });
  assert.equal(outbox.length, 3);
});
