// The socket over HTTP, over a relay whose streams the tests write.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { HttpSocket } from '../../../../relay/pages/client/httpsocket.js';
import { FakeHttp } from './http.mjs';
import { settle } from './relay.mjs';

let http, socket, heard, ends;

async function open(url = 'ws://relay/rooms/r?peer=me', protocols = ['relay.v1', 'resume.key']) {
  socket = new HttpSocket(url, protocols);
  heard = [];
  ends = [];
  socket.onmessage = ({ data }) => heard.push(data);
  socket.onclose = (end) => ends.push(end);
  await settle();
}

const written = async (text) => {
  http.last.write(text);
  await settle();
};

beforeEach(() => {
  http = new FakeHttp();
  http.begin();
});
afterEach(() => http.end());

test('secrets are in the body, and the address is that of the WebSocket', async () => {
  await open('wss://relay/path/rooms/a%2Fb?peer=me&since=1-2', ['relay.v1', 'resume.key', 'token.t']);
  assert.equal(http.last.url.href, 'https://relay/path/rooms/a%2Fb/connect?peer=me&since=1-2');
  assert.deepEqual(http.last.offered, ['relay.v1', 'resume.key', 'token.t']);
  await open('ws://relay/path/?peer=me');
  assert.equal(http.last.url.href, 'http://relay/path/rooms//connect?peer=me');
});

test('frames come in pieces of any size, also over several lines', async () => {
  await open();
  await written(':\n\nevent: session\nda');
  assert.equal(socket.readyState, 0);
  await written('ta: {"session":"id"}\n\ndata: {"a":\ndata: 1}\n');
  assert.equal(socket.readyState, 1);
  await written('\ndata: "\u00e9');
  await written('\ud83d\ude00"\n\n:\n\ndata: 3\n\n');
  assert.deepEqual(heard, ['{"a":\n1}', '"\u00e9\ud83d\ude00"', '3']);
});

test('one post follows the other, and takes the waiting frames', async () => {
  await open();
  socket.send('0');
  let answer;
  http.answer = () => new Promise((resolve) => { answer = () => resolve({ ok: true, status: 204 }); });
  http.last.begin('a/b');
  await settle();
  for (let number = 1; number <= 150; number++) socket.send(String(number));
  socket.send(JSON.stringify('x'.repeat(70_000)));
  socket.send('last');
  assert.deepEqual(http.posts.map(({ frames }) => frames.length), [1]);
  socket.send = undefined;
  for (const many of [[1, 100], [1, 100, 50], [1, 100, 50, 1]]) {
    answer();
    await settle();
    assert.deepEqual(http.posts.map(({ frames }) => frames.length), many);
  }
  assert.equal(http.posts[0].session, 'a/b');
});

test('a post that fails ends the connection, and so does the end of the stream', async () => {
  for (const [answer, code] of [
    [async () => ({ ok: false, status: 503 }), 1006], [async () => ({ ok: false, status: 413 }), 1009],
    [async () => { throw new TypeError('no network'); }, 1006],
  ]) {
    await open();
    http.answer = answer;
    http.last.begin('id');
    socket.send('1');
    await settle();
    await settle();
    assert.deepEqual(ends, [{ code, reason: '' }]);
    assert.equal(http.last.aborted, true);
  }
  await open();
  http.last.end();
  await settle();
  assert.deepEqual(ends, [{ code: 1006, reason: '' }]);
});

test('a worker that cannot reach the session is not the last one that is asked', async () => {
  await open();
  let asked = 0;
  const unknown = { ok: false, status: 400, json: async () => ({ error: { code: 'unknown_session' } }) };
  http.answer = () => (++asked < 3 ? unknown : { ok: true, status: 204 });
  http.last.begin('id');
  await settle();
  socket.send('1');
  while (asked < 3) await new Promise((resolve) => setTimeout(resolve, 20));
  await settle();
  assert.deepEqual(ends, []);
  assert.deepEqual(http.frames, [1, 1, 1]);
});

test('the relay says why it closes, and hears why this client does', async () => {
  await open();
  http.last.begin('id');
  await written('event: close\ndata: {"code":4500,"reason":"replaced"}\n\n');
  assert.deepEqual(ends, [{ code: 4500, reason: 'replaced' }]);
  await open();
  http.last.begin('id');
  await settle();
  socket.close(4001);
  socket.close(1000);
  await settle();
  assert.deepEqual([ends, http.posts.map(({ close }) => close), http.last.aborted], [[], ['4001'], true]);
  assert.equal(http.posts[0].options.keepalive, true);
});

test('an answer that is not from a relay ends the connection', async () => {
  for (const answer of [{ ok: false, status: 404 }, { ok: true, status: 204, body: null }]) {
    globalThis.fetch = async () => answer;
    await open();
    await settle();
    assert.deepEqual(ends, [{ code: 1006, reason: '' }]);
  }
});

test('a page that ends says goodbye, also if the browser has ended its stream before', async () => {
  const page = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) globalThis[name] = page[name].bind(page);
  try {
    for (const before of [() => {}, () => http.last.end()]) {
      await open();
      http.last.begin('id');
      await settle();
      before();
      await settle();
      page.dispatchEvent(new Event('pagehide'));
      page.dispatchEvent(new Event('pagehide'));
      assert.deepEqual(http.posts.map(({ close }) => close), ['1001']);
      http.posts = [];
    }
    await open();
    http.last.begin('id');
    await settle();
    socket.close(4001);
    page.dispatchEvent(new Event('pagehide'));
    assert.deepEqual(http.posts.map(({ close }) => close), ['4001']);
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});
