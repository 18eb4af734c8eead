// The cases of socket.io-client's own test suite (version 4.8), under their names, written anew against a relay.
// Their server has handlers; here a partner in the same room plays it.
// Run as: node client_cases.mjs URL PID, of the relay and its Redis, which is stopped for the last of them.
// Prints a JSON line for each case.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { Clock, check, describe, never, next, play, quiet, same, wait } from './cases.mjs';
import { print, script } from './in_node.mjs';

const require = createRequire(import.meta.url);
const { io, Manager } = require('socket.io-client-4');
const [base, redis, token] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const asked = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
let rooms = 0;
// Nobody answers there: a time limit of nothing is over first, however fast the relay is.
const listening = createServer().listen(0, '127.0.0.1');
await once(listening, 'listening');
listening.unref();
const silent = `http://127.0.0.1:${listening.address().port}`;

// The work of the suite's server for one client, done by another client.
async function partner(room) {
  const socket = io(`${base}/rooms/${room}`, { forceNew: true, transports: ['websocket'] });
  const order = [];
  const on = (name, answer) => socket.on(name, (arg) => { order.push(name); answer(arg); });
  on('hi', () => socket.emit('hi'));
  on('getDate', () => socket.emit('takeDate', new Date()));
  on('getDateObj', () => socket.emit('takeDateObj', { date: new Date() }));
  on('getUtf8', () => ['てすと', 'Я Б Г Д Ж Й', 'Ä ä Ü ü ß', 'utf8 — string'].forEach((text) => socket.emit('takeUtf8', text)));
  on('false', () => socket.emit('false', false));
  on('doge', () => socket.emit('doge', Buffer.from('asdfasdf')));
  on('buffa', (a) => { if (Buffer.isBuffer(a)) socket.emit('buffack'); });
  on('jsonbuff', (a) => { if (a.hello === 'lol' && Buffer.isBuffer(a.message) && a.goodbye === 'gotcha') socket.emit('jsonbuff-ack'); });
  on('ack', () => socket.emit('ack', (a, b) => { if (a === 5 && b.test) socket.emit('got it'); }));
  on('abuff1', () => {});
  on('abuff2', () => { if (order.at(-2) === 'abuff1') socket.emit('abuff2-ack'); });
  await next(socket, 'connect');
  return socket;
}

// A client of the default namespace and its partner, in a room of their own.
async function beside(run, options = {}) {
  const room = `case-${rooms++}`;
  const other = await partner(room);
  const socket = io(base, { forceNew: true, query: { room }, reconnectionDelay: 10, ...options });
  try { await run(socket, other, room); } finally { socket.disconnect(); other.disconnect(); }
}
const alone = (run, options) => () => beside(run, options);
const space = (name) => `/rooms/${name}-${rooms++}`;
const manager = (options, url = base) => new Manager(url, { reconnectionDelay: 10, query: { room: `case-${rooms++}` }, ...options });
const failing = { timeout: 0, reconnectionDelay: 10 };
const sent = (socket) => { const list = []; socket.io.engine.on('packetCreate', ({ data }) => list.push(data)); return list; };

async function attempts(options, path, url) {
  const one = manager(options, url);
  const seen = [];
  one.on('reconnect_attempt', (number) => seen.push(number));
  const socket = one.socket(path);
  await next(one, 'reconnect_failed');
  socket.close();
  same(seen, [1, 2]);
}

async function opensTooLate(transport) {
  const socket = io(silent, { forceNew: true, transports: [transport], timeout: 0, reconnection: false });
  same((await next(socket, 'connect_error'))[0].message, 'timeout');
  socket.close();
}

// A manager that lives by a clock that stands still, and has just lost its connection.
const reconnecting = (options, run) => async () => {
  const clock = new Clock();
  let attempts = 0;
  const one = clock.during(() => manager({ timeout: 500, reconnectionDelay: 100, randomizationFactor: 0, ...options }));
  const socket = one.socket('/');
  one.on('reconnect_attempt', () => { attempts++; socket.disconnect(); });
  await next(one, 'open');
  const closed = next(one, 'close');
  one.engine.close();
  await closed;
  await run(one, clock, () => attempts > 0);
  one._close();
};

describe('connection', {
  'should connect to localhost': alone(async (socket) => { socket.emit('hi'); await next(socket, 'hi'); }),
  'should not connect when autoConnect option set to false': async () => check(io(base, { forceNew: true, autoConnect: false }).io.engine === undefined),
  'should start two connections with same path': async () => { const [a, b] = [io(base + '/'), io(base + '/')]; check(a.io !== b.io); a.close(); b.close(); },
  'should start two connections with same path and different querystrings': async () => { const [a, b] = [io(base + '/?woot'), io(base + '/')]; check(a.io !== b.io); a.close(); b.close(); },
  'should start two connections with different paths': async () => { const [a, b] = [io(base, { path: '/foo', reconnection: false }), io(base, { path: '/bar', reconnection: false })]; check(a.io !== b.io); a.close(); b.close(); },
  'should start a single connection with different namespaces': async () => { const [a, b] = [io(base + '/rooms/foo'), io(base + '/rooms/bar')]; check(a.io === b.io); a.close(); b.close(); },
  'should work with acks': alone(async (socket) => { socket.emit('ack'); const [done] = await next(socket, 'ack'); check(typeof done === 'function', 'asked for nothing'); done(5, { test: true }); await next(socket, 'got it'); }),
  'should receive date with ack': alone(async (socket) => check(typeof (await asked(socket, 'getAckDate', { test: true }))[0].id === 'string')),
  'should work with false': alone(async (socket) => { socket.emit('false'); check((await next(socket, 'false'))[0] === false); }),
  'should receive utf8 multibyte characters': alone(async (socket) => {
    const heard = [];
    socket.on('takeUtf8', (text) => heard.push(text));
    socket.emit('getUtf8');
    while (heard.length < 4) await wait(10);
    same(heard, ['てすと', 'Я Б Г Д Ж Й', 'Ä ä Ü ü ß', 'utf8 — string']);
  }),
  'should connect to a namespace after connection established': async () => { const one = manager(); await next(one.socket('/'), 'connect'); const foo = one.socket(space('foo')); await next(foo, 'connect'); one._close(); },
  'should open a new namespace after connection gets closed': async () => { const one = manager(); const socket = one.socket('/'); await next(socket, 'connect'); const gone = next(socket, 'disconnect'); socket.disconnect(); await gone; await next(one.socket(space('foo')), 'connect'); one._close(); },
  'should reconnect by default': alone(async (socket) => { await next(socket, 'connect'); socket.io.engine.close(); await next(socket.io, 'reconnect'); }),
  'should reconnect manually': alone(async (socket) => { await next(socket, 'connect'); socket.disconnect(); socket.connect(); await next(socket, 'connect'); }),
  'should reconnect automatically after reconnecting manually': alone(async (socket) => { await next(socket, 'connect'); socket.disconnect(); socket.connect(); await next(socket, 'connect'); socket.io.engine.close(); await next(socket.io, 'reconnect'); }),
  'should attempt reconnects after a failed reconnect': async () => {
    const one = manager({ ...failing, reconnectionAttempts: 2 }, silent);
    const socket = one.socket('/timeout');
    await next(one, 'reconnect_failed');
    let count = 0;
    one.on('reconnect_attempt', () => count++);
    socket.connect();
    await next(one, 'reconnect_failed');
    socket.close();
    same(count, 2);
  },
  'reconnect delay should increase every time': async () => {
    const one = manager({ timeout: 0, reconnectionAttempts: 3, reconnectionDelay: 1000, randomizationFactor: 0.2 }, silent);
    const delays = [];
    let began;
    one.on('error', () => { began = Date.now(); });
    one.on('reconnect_attempt', () => delays.push(Date.now() - began));
    const socket = one.socket('/timeout');
    await next(one, 'reconnect_failed');
    socket.close();
    check(delays.length === 3 && delays[0] < delays[1] && delays[1] < delays[2], delays);
  },
  'should not reconnect when force closed': async () => { const socket = io(silent + '/invalid', { forceNew: true, ...failing }); await next(socket.io, 'error'); socket.disconnect(); await quiet(socket.io, 'reconnect_attempt'); },
  'should stop reconnecting when force closed': async () => { const socket = io(silent + '/invalid', { forceNew: true, ...failing }); await next(socket.io, 'reconnect_attempt'); socket.disconnect(); await quiet(socket.io, 'reconnect_attempt'); },
  'should reconnect after stopping reconnection': async () => { const socket = io(silent + '/invalid', { forceNew: true, ...failing }); await next(socket.io, 'reconnect_attempt'); socket.disconnect(); socket.connect(); await next(socket.io, 'reconnect_attempt'); socket.disconnect(); },
  'should stop reconnecting on a socket and keep to reconnect on another': async () => {
    const one = manager();
    const [first, second] = [one.socket('/'), one.socket(space('asd'))];
    await Promise.all([next(first, 'connect'), next(second, 'connect')]);
    one.once('reconnect_attempt', () => first.disconnect());
    one.engine.close();
    await Promise.race([never(first, 'connect'), next(second, 'connect')]);
    await quiet(first, 'connect', 50);
    one._close();
  },
  'should try to reconnect twice and fail when requested two attempts with immediate timeout and reconnect enabled': () => attempts({ ...failing, reconnectionAttempts: 2 }, '/timeout', silent),
  'should fire reconnect_* events on manager': () => attempts({ ...failing, reconnectionAttempts: 2 }, '/timeout_socket', silent),
  'should fire reconnecting (on manager) with attempts number when reconnecting twice': () => attempts({ ...failing, reconnectionAttempts: 2 }, '/timeout_socket', silent),
  'should not try to reconnect and should form a connection when connecting to correct port with default timeout': async () => { const one = manager(); const socket = one.socket(space('valid')); await Promise.race([never(one, 'reconnect_attempt'), next(socket, 'connect')]); await quiet(one, 'reconnect_attempt'); one._close(); },
  'should connect while disconnecting another socket': async () => { const one = manager(); const first = one.socket(space('foo')); await next(first, 'connect'); const second = one.socket(space('asd')); first.disconnect(); await next(second, 'connect'); one._close(); },
  'should emit a connect_error event when reaching a Socket.IO server in v2.x': async () => { const socket = io(base, { forceNew: true, autoConnect: false }); const error = next(socket, 'connect_error'); socket.onpacket({ nsp: '/', type: 0 }); await error; },
  'should not close the connection when disconnecting a single socket': async () => {
    const one = manager();
    const [first, second] = [one.socket(space('foo')), one.socket(space('asd'))];
    await Promise.all([next(first, 'connect'), next(second, 'connect')]);
    first.disconnect();
    await quiet(second, 'disconnect', 200);
    const closed = next(one, 'close');
    second.removeAllListeners('disconnect');
    second.disconnect();
    await closed;
  },
  'should stop trying to reconnect': async () => { const one = manager({}, 'http://127.0.0.1:9'); await next(one, 'reconnect_error'); one.reconnection(false); await quiet(one, 'reconnect_attempt'); one._close(); },
  'should try to reconnect twice and fail when requested two attempts with incorrect address and reconnect enabled': () => attempts({ reconnectionAttempts: 2 }, '/asd', 'http://127.0.0.1:9'),
  'should not try to reconnect with incorrect port when reconnection disabled': async () => { const one = manager({ reconnection: false }, 'http://127.0.0.1:9'); one.socket('/invalid'); await next(one, 'error'); await quiet(one, 'reconnect_attempt'); },
  'should still try to reconnect twice after opening another socket asynchronously': async () => {
    const one = manager({ reconnectionAttempts: 2 }, 'http://127.0.0.1:9');
    let count = 0;
    one.on('reconnect_attempt', () => count++);
    one.socket('/room1');
    setTimeout(() => one.socket('/room2'), 10);
    await next(one, 'reconnect_failed');
    same(count, 2);
  },
  'should use overridden setTimeout by default': reconnecting({}, async (one, clock, attempted) => { clock.tick(99); check(!attempted()); clock.tick(1); check(attempted()); }),
  'should use native setTimeout with useNativeSetTimers': reconnecting({ useNativeTimers: true }, async (one, clock, attempted) => { clock.tick(1000); check(!attempted()); await next(one, 'reconnect_attempt'); }),
  'should emit date as string': alone(async (socket) => { socket.emit('getDate'); check(typeof (await next(socket, 'takeDate'))[0] === 'string'); }),
  'should emit date in object': alone(async (socket) => { socket.emit('getDateObj'); check(typeof (await next(socket, 'takeDateObj'))[0].date === 'string'); }),
  'should get base64 data as a last resort': 'in Chromium',
  'should get binary data (as an ArrayBuffer)': alone(async (socket) => { await next(socket, 'connect'); socket.io.engine.binaryType = 'arraybuffer'; socket.emit('doge'); check((await next(socket, 'doge'))[0] instanceof ArrayBuffer); }, { transports: ['websocket'] }),
  'should send binary data (as an ArrayBuffer)': alone(async (socket) => { socket.emit('buffa', Uint8Array.of(1, 2).buffer); await next(socket, 'buffack'); }),
  'should send binary data (as an ArrayBuffer) mixed with json': alone(async (socket) => { socket.emit('jsonbuff', { hello: 'lol', message: Uint8Array.of(1).buffer, goodbye: 'gotcha' }); await next(socket, 'jsonbuff-ack'); }),
  'should send events with ArrayBuffers in the correct order': alone(async (socket) => { socket.emit('abuff1', Uint8Array.of(1).buffer); socket.emit('abuff2', 'please arrive second'); await next(socket, 'abuff2-ack'); }),
  'should send binary data (as a Blob)': 'in Chromium',
  'should send binary data (as a Blob) mixed with json': 'in Chromium',
  'should send events with Blobs in the correct order': 'in Chromium',
  'should reopen a cached socket': async () => { const one = manager(); const socket = one.socket('/'); await next(socket, 'connect'); const gone = next(socket, 'disconnect'); socket.disconnect(); await gone; check(one.socket('/') === socket && socket.active); await next(socket, 'connect'); one._close(); },
  'should not reopen a cached but active socket': async () => { const one = manager(); const packets = sent({ io: one }); await next(one, 'open'); const socket = one.socket('/'); check(one.socket('/') === socket); await next(socket, 'connect'); socket.disconnect(); same(packets.filter((data) => data !== undefined), ['0', '1']); },
  'should not reopen an already active socket': async () => { const one = manager(); const packets = sent({ io: one }); await next(one, 'open'); const name = space('foo'); const [a, b] = [one.socket('/'), one.socket(name)]; await Promise.all([next(a, 'connect'), next(b, 'connect')]); a.disconnect(); b.disconnect(); same(packets.filter((data) => data !== undefined), ['0', `0${name},`, '1', `1${name},`]); },
  'should close the engine upon decoding exception': async () => { const one = manager(); const { engine } = one; await next(one, 'open'); await wait(0); engine.emit('data', 'bad'); await next(one, 'reconnect'); check(one.engine !== engine && engine.readyState === 'closed'); one._close(); },
});

const timesOut = async (promise) => { try { await promise; } catch { return; } throw new Error('answered'); };
const errs = (send) => new Promise((resolve, reject) => send((error) => (error instanceof Error ? resolve() : reject(new Error('no error')))));
const query = (options, address = base) => async () => {
  const socket = io(address, { forceNew: true, ...options });
  await next(socket, 'connect');
  socket.disconnect();
};

describe('socket', {
  'should have an accessible socket id equal to the server-side socket id (default namespace)': alone(async (socket, other, room) => { await next(socket, 'connect'); check((await members(room)).includes(socket.id) && socket.id !== socket.io.engine.id); }),
  'should have an accessible socket id equal to the server-side socket id (custom namespace)': alone(async (socket, other, room) => { await next(socket, 'connect'); check((await members(room)).includes(other.id) && other.id !== other.io.engine.id); }),
  'clears socket.id upon disconnection': alone(async (socket) => { await next(socket, 'connect'); const gone = next(socket, 'disconnect'); socket.disconnect(); await gone; check(!socket.id); }),
  "doesn't fire an error event if we force disconnect in opening state": alone(async (socket) => { socket.disconnect(); await quiet(socket.io, 'error', 300); }, { timeout: 100 }),
  'fire a connect_error event when the connection cannot be established': async () => { const socket = io('http://127.0.0.1:9', { forceNew: true, timeout: 100 }); await next(socket, 'connect_error'); socket.close(); },
  'fire a connect_error event on open timeout (polling)': () => opensTooLate('polling'),
  'fire a connect_error event on open timeout (websocket)': () => opensTooLate('websocket'),
  "doesn't fire a connect_error event when the connection is already established": alone(async (socket) => { await next(socket, 'connect'); socket.io.engine.close(); await quiet(socket, 'connect_error', 300); }),
  'should change socket.id upon reconnection': alone(async (socket) => { await next(socket, 'connect'); const { id } = socket; socket.io.engine.close(); await next(socket, 'connect'); check(socket.id !== id, 'it was recovered'); }),
  'should enable compression by default': alone(async (socket) => { await next(socket, 'connect'); const made = next(socket.io.engine, 'packetCreate'); socket.emit('hi'); check((await made)[0].options.compress === true); }),
  'should disable compression': alone(async (socket) => { await next(socket, 'connect'); const made = next(socket.io.engine, 'packetCreate'); socket.compress(false).emit('hi'); check((await made)[0].options.compress === false); }),
  'should accept an object (default namespace)': alone(async (socket) => { socket.emit('hi'); await next(socket, 'hi'); }),
  'should accept a query string (default namespace)': async () => { const other = await partner('query'); const socket = io(`${base}/?room=query`, { forceNew: true }); socket.emit('hi'); await next(socket, 'hi'); socket.close(); other.close(); },
  'should accept an object': query({ query: { a: 'b' } }, `${base}/rooms/abc`),
  'should accept a query string': query({}, `${base}/rooms/abc?b=c&d=e`),
  'should properly encode the parameters': query({ query: { '&a': '&=?a' } }, `${base}/rooms/abc`),
  'should accept an object (auth)': query({ auth: { a: 'b' } }, `${base}/rooms/abc`),
  'should accept an function': query({ auth: (done) => done({ e: 'f' }) }, `${base}/rooms/abc`),
  'should fire an error event on middleware failure from custom namespace': async () => { const socket = io(`${base}/no`, { forceNew: true }); const [error] = await next(socket, 'connect_error'); check(error instanceof Error); same(error.message, 'Invalid namespace'); socket.disconnect(); },
  'should not try to reconnect after a middleware failure': async () => { const socket = io(`${base}/no`, { forceNew: true, reconnectionDelay: 10 }); let count = 0; socket.on('connect_error', () => { count++; socket.io.engine.close(); }); await next(socket, 'connect_error'); await wait(100); same(count, 1); },
  'should properly disconnect then reconnect': alone(async (socket) => { let count = 0; socket.on('disconnect', () => count++); await next(socket, 'connect'); socket.disconnect().connect(); await wait(100); same(count, 1); }, { transports: ['websocket'] }),
  'should throw on reserved event': async () => { const socket = io(`${base}/no`, { forceNew: true, autoConnect: false }); let thrown; try { socket.emit('disconnecting'); } catch (error) { thrown = error; } check(/reserved event name/.test(String(thrown))); },
  'should emit events in order': alone(async (socket) => { const order = []; const second = new Promise((resolve) => socket.on('connect', () => socket.emit('echo', 'second', () => { order.push(2); resolve(); }))); socket.emit('echo', 'first', () => order.push(1)); await second; same(order, [1, 2]); }),
  'should emit an event and wait for the acknowledgement': alone(async (socket) => check((await socket.emitWithAck('echo', 123)).id)),
  'should discard a volatile packet when the socket is not connected': alone(async (socket) => { let volatile = false; socket.volatile.emit('getId', () => { volatile = true; }); const answered = asked(socket, 'getId'); socket.connect(); await answered; check(!volatile); }, { autoConnect: false }),
  'should discard a volatile packet when the pipe is not ready': alone(async (socket) => { await next(socket, 'connect'); let volatile = false; const answered = asked(socket, 'getId'); socket.volatile.emit('getId', () => { volatile = true; }); await answered; check(!volatile); }),
  'should send a volatile packet when the socket is connected and the pipe is ready': alone(async (socket) => { await new Promise((resolve) => { const timer = setInterval(() => socket.volatile.emit('getId', () => { clearInterval(timer); resolve(); }), 50); }); }),
  'should call listener (onAny)': alone(async (socket) => { const heard = new Promise((resolve) => socket.onAny((name) => resolve(name))); socket.emit('hi'); same(await heard, 'hi'); }),
  'should prepend listener (onAny)': alone(async (socket) => { const order = []; const last = new Promise((resolve) => socket.onAny(() => resolve())); socket.prependAny(() => order.push(1)); socket.prependAny(() => order.push(0)); socket.emit('hi'); await last; same(order, [0, 1]); }),
  'should remove listener (onAny)': alone(async (socket) => { let called = false; const fail = () => { called = true; }; socket.onAny(fail); socket.offAny(fail); const heard = new Promise((resolve) => socket.onAny(resolve)); socket.emit('hi'); await heard; check(!called); }),
  'should call listener (onAnyOutgoing)': alone(async (socket) => { await next(socket, 'connect'); let said; socket.onAnyOutgoing((...args) => { said = args; }); socket.emit('my-event', '123'); same(said, ['my-event', '123']); }),
  'should call listener with binary data': alone(async (socket) => { await next(socket, 'connect'); let said; socket.onAnyOutgoing((name, arg) => { said = arg; }); socket.emit('my-event', Uint8Array.of(1, 2, 3)); check(said instanceof Uint8Array); }),
  'should prepend listener (onAnyOutgoing)': alone(async (socket) => { const order = []; socket.onAnyOutgoing(() => order.push(2)); socket.prependAnyOutgoing(() => order.push(1)); socket.prependAnyOutgoing(() => order.push(0)); socket.emit('my-event', '123'); await next(socket, 'connect'); await wait(10); same(order, [0, 1, 2]); }),
  'should remove listener (onAnyOutgoing)': alone(async (socket) => { let called = false; const fail = () => { called = true; }; socket.onAnyOutgoing(fail); socket.offAnyOutgoing(fail); const said = new Promise((resolve) => socket.onAnyOutgoing(resolve)); socket.emit('my-event', '123'); await said; check(!called); }),
  'should timeout after the given delay when socket is not connected': alone(async (socket) => { await errs((done) => socket.timeout(50).emit('event', done)); same(socket.sendBuffer, []); }, { autoConnect: false }),
  'should timeout when the server does not acknowledge the event in time': alone((socket) => errs((done) => socket.timeout(0).emit('echo', 42, done))),
  'should not timeout when the server does acknowledge the event': alone(async (socket) => { await next(socket, 'connect'); const [error, value] = await new Promise((resolve) => socket.timeout(2000).emit('echo', 42, (...answer) => resolve(answer))); check(error === null && value.id); }),
  'should not timeout when the server does acknowledge the event (promise)': alone(async (socket) => { await next(socket, 'connect'); check((await socket.timeout(2000).emitWithAck('echo', 42)).id); }),
  'should not ack upon disconnection (callback)': alone(async (socket) => { await next(socket, 'connect'); let acked = false; socket.emit('echo', 'a', () => { acked = true; }); socket.disconnect(); same(Object.keys(socket.acks), []); await wait(100); check(!acked); }),
  'should ack with an error upon disconnection (callback & timeout)': alone(async (socket) => { await next(socket, 'connect'); const error = errs((done) => socket.timeout(10_000).emit('echo', 'a', done)); socket.disconnect(); await error; }),
  'should ack with an error upon disconnection (callback & ackTimeout)': alone(async (socket) => { await next(socket, 'connect'); const error = errs((done) => socket.emit('echo', 'a', done)); socket.disconnect(); await error; }, { ackTimeout: 10_000 }),
  'should ack with an error upon disconnection (promise)': alone(async (socket) => { await next(socket, 'connect'); const answer = timesOut(socket.emitWithAck('echo', 'a')); socket.disconnect(); await answer; }),
  'should ack with an error upon disconnection (promise & timeout)': alone(async (socket) => { await next(socket, 'connect'); const answer = timesOut(socket.timeout(10_000).emitWithAck('echo', 'a')); socket.disconnect(); await answer; }),
  'should not discard an unsent ack (callback)': alone(async (socket) => { await next(socket, 'connect'); socket.disconnect(); const answer = asked(socket, 'echo', 'a'); setTimeout(() => socket.connect(), 100); check((await answer)[0].id); }),
  'should buffer the event and send it upon reconnection': alone(async (socket) => { await next(socket, 'connect'); let back = false; socket.io.once('reconnect', () => { back = true; }); socket.io.engine._pingTimeoutTime = Date.now() - 1; check((await asked(socket, 'echo', '123'))[0].id && back); }),
});

describe('retry', {
  'should preserve the order of the packets': alone(async (socket) => {
    const packets = sent(socket);
    const left = [];
    const last = new Promise((resolve) => { for (const number of [1, 2, 3]) socket.emit('echo', number, (error, value) => { left.push(socket._queue.length); if (number === 3) resolve([error, value]); }); });
    const [error, value] = await last;
    check(error === null && value.id);
    same(left, [2, 1, 0]);
    same(packets.filter((data) => data && data[0] === '2'), ['20["echo",1]', '21["echo",2]', '22["echo",3]']);
  }, { retries: 1, ackTimeout: 2000 }),
  'should not drain the queue while the socket is disconnected': alone(async (socket) => { const answer = asked(socket, 'echo', 1); await wait(100); socket.connect(); check((await answer)[0] === null); }, { autoConnect: false, retries: 3, ackTimeout: 1000 }),
  "should not emit a packet twice in the 'connect' handler": alone(async (socket) => { const packets = sent(socket); socket.on('connect', () => socket.emit('echo', null)); await wait(300); same(packets.filter((data) => data && data[0] === '2'), ['20["echo",null]']); }, { retries: 3, ackTimeout: 2000, transports: ['websocket'] }),
});

describe('connection state recovery', {
  'should have an accessible socket id equal to the server-side socket id (default namespace)': alone(async (socket) => { check(socket.recovered === false); socket.emit('hi'); await next(socket, 'hi'); const { id } = socket; socket.io.engine.close(); await next(socket, 'connect'); same([socket.id, socket.recovered], [id, true]); }),
});

async function members(room) {
  const answer = await fetch(`${base}/rooms/${room}`, { headers: { Authorization: `Bearer ${token}` } });
  return (await answer.json()).members.map(({ peer }) => peer);
}

const { url } = require(join(dirname(require.resolve('socket.io-client-4/package.json')), 'build', 'cjs', 'url.js'));
const parsed = (expected, ...args) => async () => {
  const found = url(...args);
  same(Object.fromEntries(Object.keys(expected).map((name) => [name, found[name]])), expected);
};
const woot = (protocol, port) => ({ hostname: 'woot.com', protocol, port, host: `woot.com:${port}` });

describe('url', {
  'works with undefined': parsed({ host: 'woot.com', protocol: 'https', port: '4005' }, undefined, undefined, woot('https:', 4005)),
  'works with relative paths': parsed({ host: 'woot.com', protocol: 'https', port: '3000' }, '/test', undefined, woot('https:', 3000)),
  'works with no protocol': parsed({ host: 'localhost', port: '3000', protocol: 'http' }, 'localhost:3000', undefined, woot('http:', 3000)),
  'works with no schema': parsed({ host: 'localhost', port: '3000', protocol: 'http' }, '//localhost:3000', undefined, woot('http:', 3000)),
  'forces ports for unique url ids': async () => {
    const [a, b, c, d] = [url('http://google.com:80/'), url('http://google.com/'), url('https://google.com/'), url('http://google.com/', '/test')].map(({ id }) => id);
    check(a === b && a !== c && b !== c && b !== d);
  },
  'identifies the namespace': async () => same([url('/woot', undefined, woot('http:', 80)), url('http://google.com'), url('http://google.com/')].map((one) => one.path), ['/woot', '/', '/']),
  'works with ipv6': parsed({ protocol: 'http', host: '::1', port: '80', id: 'http://[::1]:80' }, 'http://[::1]'),
  'works with ipv6 location': parsed({ protocol: 'http', host: '::1', port: '80', id: 'http://[::1]:80' }, undefined, undefined, { protocol: 'http:', hostname: '[::1]', port: '', host: '[::1]:' }),
  'works with a custom path': parsed({ id: 'https://woot.com:443/some-path', path: '/some-namespace' }, 'https://woot.com/some-namespace', '/some-path'),
});

// A process with a client, which ends, or not, when the timer is all that would keep it.
const client = (address, options) => script(`const { io } = require('socket.io-client-4');
  io(${JSON.stringify(address)}, ${JSON.stringify(options)});
  setTimeout(() => console.log('over'), 50);`);
const ends = (address, options) => async () => same(await client(address, { autoUnref: true, ...options }).ended, 0);

describe('autoUnref option', {
  'should stop once the timer is triggered': ends(base, {}),
  'should stop once the timer is triggered (even when trying to reconnect)': ends('http://127.0.0.1:9', {}),
  'should stop once the timer is triggered (polling)': ends(base, { transports: ['polling'] }),
  'should stop once the timer is triggered (websocket)': ends(base, { transports: ['websocket'] }),
  'should not stop with autoUnref set to false': async () => {
    const goes = client('http://127.0.0.1:9', { autoUnref: false });
    await goes.said;
    const ended = await Promise.race([goes.ended, wait(100).then(() => 'lives')]);
    goes.kill();
    same(ended, 'lives');
  },
});

await play(6, print);

// A relay acknowledges when Redis has the message: with a Redis that stands still, it does not.
let connected = 0;
let stop;
const stopped = new Promise((resolve) => { stop = resolve; });
const unanswered = (run, options) => alone(async (socket) => {
  await next(socket, 'connect');
  if (++connected === 4) { process.kill(redis, 'SIGSTOP'); stop(); }
  await stopped;
  await run(socket);
}, options);

describe('socket', {
  'should timeout when the server does not acknowledge the event': unanswered((socket) => errs((done) => socket.timeout(50).emit('unknown', done))),
  'should timeout when the server does not acknowledge the event (promise)': unanswered((socket) => timesOut(socket.timeout(50).emitWithAck('unknown'))),
  'should use the default timeout value': unanswered((socket) => errs((done) => socket.emit('unknown', done)), { ackTimeout: 50 }),
});

describe('retry', {
  'should fail when the server does not acknowledge the packet': unanswered(async (socket) => {
    const packets = sent(socket);
    await errs((done) => socket.emit('ack', done));
    same(packets.filter((data) => data && data[0] === '2'), ['20["ack"]', '21["ack"]', '22["ack"]', '23["ack"]']);
  }, { retries: 3, ackTimeout: 50 }),
});

try { await play(4, print); } finally { process.kill(redis, 'SIGCONT'); }
process.exit(0);
