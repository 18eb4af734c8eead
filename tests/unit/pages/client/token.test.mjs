// Tokens and passwords, over a relay whose frames the tests write.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { FakeSocket, begin, client, end, listen, pass, settle } from './relay.mjs';

/** A function that returns these tokens one after the other, and throws the errors among them. */
function returning(...tokens) {
  const ask = async () => {
    ask.calls += 1;
    const token = tokens.shift();
    if (token instanceof Error) throw token;
    return token;
  };
  return Object.assign(ask, { calls: 0 });
}

const expiring = { type: 'token_expiring', in: 30 };

beforeEach(begin);
afterEach(end);

test('a token and a password travel as subprotocols, and never in the address', () => {
  client('ws://relay', { token: 'a.b-c' }).join('r', { password: 'hall é' });
  const { protocols, url } = FakeSocket.last;
  assert.deepEqual(protocols.slice(2), ['password.aGFsbCDDqQ', 'token.a.b-c']);
  assert.equal(url.search, '?peer=me&presence=1');
});

test('the password of a further room is in the command that joins it', () => {
  const relay = client();
  relay.join('one');
  relay.join('two', { password: 'hall é' });
  FakeSocket.last.welcome();
  assert.equal(FakeSocket.last.frames('join')[0].password, 'hall é');
  assert.deepEqual(FakeSocket.last.protocols.length, 2);
});

test('a value that is no token, or no password, is refused at once', () => {
  for (const token of ['a b', 'a,b', 5, null]) assert.throws(() => client().join('r', { token }), { code: 'bad_token' });
  assert.throws(() => client().join('r', { password: 5 }), { code: 'bad_password' });
  assert.throws(() => client().observe('r', { token: 'a b' }), { code: 'bad_token' });
  assert.equal(FakeSocket.made.length, 0);
});

test('a function is asked ahead of each connection, also when the token has expired', async () => {
  const token = returning('one', 'two', '');
  const room = client('ws://relay', { token }).join('r');
  const events = listen(room);
  assert.equal(FakeSocket.made.length, 0);
  await settle();
  FakeSocket.last.welcome();
  FakeSocket.last.end(4009, 'token_expired');
  pass(250);
  await settle();
  assert.equal(FakeSocket.last.protocols[2], 'token.two');
  FakeSocket.last.end(1006);
  pass(500);
  await settle();
  assert.deepEqual([FakeSocket.last.protocols.length, token.calls], [2, 3]);
  FakeSocket.last.welcome({ recovered: true });
  assert.deepEqual(events, [['open', true], ['reconnecting', 'token_expired'], ['reconnecting', 'lost']]);
});

test('a text that has expired ends the rooms', async () => {
  const room = client('ws://relay', { token: 'one' }).join('r');
  FakeSocket.last.welcome();
  FakeSocket.last.say(expiring);
  assert.deepEqual(FakeSocket.last.sent, []);
  FakeSocket.last.end(4009, 'token_expired');
  pass(60_000);
  assert.deepEqual([room.closed.code, FakeSocket.made.length], ['token_expired', 1]);
});

test('a function that fails, or takes too long, is asked again with growing delays, and the page is told', async () => {
  const token = returning(new Error('no answer'), undefined, 'a b', 'four');
  const room = client('ws://relay', { token }).join('r');
  const told = [];
  room.on('reconnecting', ({ code, text, delay, attempt }) => told.push([code, text.split(': ')[1], delay, attempt]));
  for (const delay of [250, 500, 1000]) {
    await settle();
    pass(delay);
  }
  await settle();
  assert.equal(FakeSocket.last.protocols[2], 'token.four');
  const refusal = 'a token is text, without spaces, commas, slashes and quotes';
  assert.deepEqual(told, [
    ['token_failed', 'no answer', 250, 1], ['token_failed', 'it returned none in time', 500, 2], ['token_failed', refusal, 1000, 3],
  ]);
  const other = client('ws://relay', { token: () => new Promise(() => {}) }).join('r');
  const events = listen(other);
  pass(10_000);
  await settle();
  assert.deepEqual(events, [['reconnecting', 'token_failed']]);
});

test('rooms that are joined or left while a token is asked for', async () => {
  let answer;
  const relay = client('ws://relay', { token: () => new Promise((resolve) => { answer = resolve; }) });
  const [one, two] = [relay.join('one'), relay.join('two')];
  await one.leave();
  answer('t');
  await settle();
  assert.deepEqual([FakeSocket.made.length, FakeSocket.last.url.pathname], [1, '/rooms/two']);
  FakeSocket.last.end(1006);
  pass(250);
  await two.leave();
  answer('t');
  await settle();
  pass(60_000);
  assert.equal(FakeSocket.made.length, 1);
});

test('rooms with the same function share a connection, and others do not', async () => {
  const [token, other] = [returning('one', 'one'), returning('two')];
  const relay = client('ws://relay', { token });
  relay.join('a');
  relay.join('b');
  relay.join('c', { token: other });
  await settle();
  assert.deepEqual(FakeSocket.made.map(({ url }) => url.pathname), ['/rooms/a', '/rooms/c']);
});

test('the relay gets a new token over the connection before the old one expires', async () => {
  const token = returning('one', 'two\n');
  const room = client('ws://relay', { token }).join('r');
  const events = listen(room);
  await settle();
  FakeSocket.last.welcome();
  FakeSocket.last.say(expiring);
  FakeSocket.last.say(expiring);
  await settle();
  const [{ token: sent, key }] = FakeSocket.last.frames('refresh');
  FakeSocket.last.say({ type: 'refreshed', expires: 2e9, key });
  await settle();
  pass(5000);
  assert.deepEqual([sent, token.calls, events], ['two', 2, [['open', true]]]);
});

test('a new token that is not there yet, or that the relay refuses, is reported and asked for again', async () => {
  const token = returning('one', new Error('later'), 'two', 'three');
  const room = client('ws://relay', { token }).join('r');
  const events = listen(room);
  await settle();
  FakeSocket.last.welcome();
  FakeSocket.last.say(expiring);
  await settle();
  pass(1250);
  await settle();
  const [{ key }] = FakeSocket.last.frames('refresh');
  FakeSocket.last.say({ type: 'error', code: 'bad_token', text: 'no', about: 'refresh', key });
  await settle();
  pass(1500);
  await settle();
  assert.deepEqual(FakeSocket.last.frames('refresh').map((frame) => frame.token), ['two', 'three']);
  assert.deepEqual(events, [['open', true], ['error', 'token_failed'], ['error', 'bad_token']]);
});

test('a new token for a connection that is lost meanwhile is not sent', async () => {
  let answer;
  const tokens = ['one', new Promise((resolve) => { answer = resolve; }), 'three'];
  const room = client('ws://relay', { token: () => tokens.shift() }).join('r');
  const events = listen(room);
  await settle();
  FakeSocket.last.welcome();
  FakeSocket.last.say(expiring);
  FakeSocket.last.end(1006);
  pass(250);
  await settle();
  answer('late');
  FakeSocket.last.welcome({ recovered: true });
  await settle();
  assert.deepEqual([FakeSocket.last.protocols[2], FakeSocket.last.frames('refresh')], ['token.three', []]);
  assert.deepEqual(events, [['open', true], ['reconnecting', 'lost']]);
});

test('a token that the relay refuses ends all rooms of the connection, and a room that refuses the client only itself', async () => {
  const relay = client('ws://relay', { token: () => 't' });
  const [one, two] = [relay.join('one'), relay.join('two')];
  await settle();
  FakeSocket.last.say({ type: 'error', about: 'join', code: 'bad_token', text: 'no' });
  FakeSocket.last.end(4504, 'token_refused');
  pass(60_000);
  await settle();
  assert.deepEqual([one.closed.code, two.closed.code, FakeSocket.made.length], ['bad_token', 'bad_token', 1]);
  const [three, four] = [relay.join('three', { password: 'x' }), relay.join('four')];
  await settle();
  FakeSocket.last.say({ type: 'error', about: 'join', code: 'bad_password', text: 'no' });
  FakeSocket.last.end(4505, 'not_admitted');
  pass(250);
  await settle();
  assert.deepEqual([three.closed.code, four.closed, FakeSocket.last.url.pathname], ['bad_password', undefined, '/rooms/four']);
});

test('a further room is joined again if the token has just expired', async () => {
  const relay = client('ws://relay', { token: () => 't' });
  const [, two] = [relay.join('one'), relay.join('two')];
  await settle();
  FakeSocket.last.welcome();
  const [{ key }] = FakeSocket.last.frames('join');
  FakeSocket.last.say({ type: 'error', about: 'join', code: 'token_expired', text: '', key });
  pass(300);
  assert.deepEqual([FakeSocket.last.frames('join').length, two.closed], [2, undefined]);
});

test('a client that wants no peer id of its own asks for the one that its token is for', async () => {
  const jwt = (claims) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;
  const peers = async (claims, options) => {
    const token = async () => (typeof claims === 'string' ? claims : jwt(claims));
    const relay = client('ws://relay', { token, peer: undefined, ...options });
    relay.join('r');
    assert.throws(() => relay.join('r'), { code: 'already_joined' });
    await settle();
    FakeSocket.last.welcome();
    assert.throws(() => relay.join('r'), { code: 'already_joined' });
    return FakeSocket.last.url.searchParams.get('peer');
  };
  assert.equal(await peers({ sub: 'Анна?' }), 'Анна?');
  assert.match(await peers({ sub: 'ann-*' }), /^ann-[\w-]{16}$/);
  for (const claims of [{}, { sub: '' }, { sub: 7 }, 'x', 'x.?.x', '']) assert.match(await peers(claims), /^[\w-]{16}$/);
  assert.equal(await peers({ sub: 'ann' }, { peer: 'me' }), 'me');
});

test('a refusal is that of its own connection, and not of a later one for which there is no token', async () => {
  const token = returning('one', new Error('later'), 'two');
  const room = client('ws://relay', { token }).join('r');
  const events = listen(room);
  await settle();
  FakeSocket.last.say({ type: 'error', about: 'join', code: 'room_full', text: 'full' });
  FakeSocket.last.end(4004, 'room_full');
  pass(250);
  await settle();
  pass(500);
  await settle();
  FakeSocket.last.welcome();
  assert.deepEqual(events, [['reconnecting', 'room_full'], ['reconnecting', 'token_failed'], ['open', true]]);
});
