// The cases of socket.io-client's and engine.io-client's own test suites that need a page, written anew against a relay:
// see conformance/client_cases.mjs and conformance/engine_cases.mjs. A partner in the same room plays their server.
import { check, describe, next, play, same } from '/conformance/cases.mjs';

const path = '/socket.io/';
const five = () => Int8Array.of(0, 1, 2, 3, 4);
const text = (data) => new TextDecoder().decode(data);
let rooms = 0;

async function partner(room) {
  const socket = io(`${RELAY}/rooms/${room}`, { forceNew: true, transports: ['websocket'] });
  const bytes = (value) => { check(value instanceof ArrayBuffer, 'not binary'); return text(value); };
  const order = [];
  const on = (name, answer) => socket.on(name, (value) => { order.push(name); answer(value); });
  on('echo', (value) => socket.emit('echo', value));
  on('give binary', () => socket.emit('echo', five()));
  on('blob', (value) => { if (bytes(value) === 'hello world') socket.emit('back'); });
  on('jsonblob', (value) => { if (value.hello === 'lol' && bytes(value.message) === 'EEEEEEEEE' && value.goodbye === 'gotcha') socket.emit('jsonblob-ack'); });
  on('blob1', bytes);
  on('blob2', (value) => same(value, 'second'));
  on('blob3', (value) => { bytes(value); if (order.join() === 'blob1,blob2,blob3') socket.emit('blob3-ack'); });
  on('getbin', () => socket.emit('takebin', new TextEncoder().encode('asdfasdf')));
  await next(socket, 'connect');
  return socket;
}

const beside = (make, run, options) => async () => {
  const room = `page-${rooms++}`;
  const other = await partner(room);
  const socket = (await make())(RELAY, { forceNew: true, query: { room }, ...options });
  try { await run(socket, room); } finally { socket.close(); other.disconnect(); }
};

// A client as it is where there is no ArrayBuffer.
async function bare(library, name) {
  const frame = document.body.appendChild(document.createElement('iframe'));
  delete frame.contentWindow.ArrayBuffer;
  delete frame.contentWindow.Blob;
  const script = frame.contentDocument.createElement('script');
  script.src = `/conformance/node_modules/${library}/dist/${name}`;
  const loaded = new Promise((resolve) => { script.onload = resolve; });
  frame.contentDocument.head.append(script);
  await loaded;
  return frame.contentWindow;
}

// socket.io-client.

const client = (run) => beside(() => io, run);

describe('connection', {
  'should get base64 data as a last resort': beside(async () => (await bare('socket.io-client-4', 'socket.io.js')).io, async (socket) => {
    socket.emit('getbin');
    const [{ base64, data }] = await next(socket, 'takebin');
    same([base64, data], [true, 'YXNkZmFzZGY=']);
  }, { transports: ['polling'] }),
  'should send binary data (as a Blob)': client(async (socket) => { socket.emit('blob', new Blob(['hello world'])); await next(socket, 'back'); }),
  'should send binary data (as a Blob) mixed with json': client(async (socket) => { socket.emit('jsonblob', { hello: 'lol', message: new Blob(['EEEEEEEEE']), goodbye: 'gotcha' }); await next(socket, 'jsonblob-ack'); }),
  'should send events with Blobs in the correct order': client(async (socket) => { const blob = new Blob(['BLOBBLOB']); socket.emit('blob1', blob); socket.emit('blob2', 'second'); socket.emit('blob3', blob); await next(socket, 'blob3-ack'); }),
});
window.socketio = [];
await play(4, (one) => socketio.push(one));

// engine.io-client.

const engine = (run, options) => beside(() => eio, run, { path, ...options });

async function greeted(socket) {
  if (socket.readyState !== 'open') await next(socket, 'open');
  socket.send('0');
  await next(socket, 'message');
}

async function repeated(socket, ...values) {
  const back = new Promise((resolve, reject) => {
    const heard = [];
    socket.on('message', (data) => {
      if (typeof data !== 'string') heard.push(data);
      else if (data.startsWith('2["relay:position"')) return; // Follows each event.
      else if (data.startsWith('2[')) heard.push(JSON.parse(data.slice(1))[1]);
      if (heard.length === values.length) resolve(heard);
    });
    socket.once('close', () => reject(new Error('closed')));
  });
  for (const value of values) {
    if (typeof value === 'string') {
      socket.send('2' + JSON.stringify(['echo', value]));
    } else {
      socket.send('51-["echo",{"_placeholder":true,"num":0}]');
      socket.send(value);
    }
  }
  return back;
}

const asBlob = (prepare) => async (socket) => {
  socket.binaryType = 'blob';
  if (prepare) await next(socket, prepare);
  await greeted(socket);
  const [data] = await repeated(socket, five());
  check(data instanceof Blob);
  same([...new Int8Array(await data.arrayBuffer())], [...five()]);
};
const ofBlob = (prepare) => async (socket) => {
  if (prepare) await next(socket, prepare);
  await greeted(socket);
  const [data] = await repeated(socket, new Blob([five().buffer]));
  check(data instanceof ArrayBuffer);
  same([...new Int8Array(data)], [...five()]);
};

describe('connection', {
  'should work in a worker': async () => {
    const room = `page-${rooms++}`;
    const other = await partner(room);
    const worker = new Worker('worker.js');
    worker.postMessage({ url: RELAY, options: { path, query: { room } } });
    const heard = [];
    await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => { if (heard.push(data) === 20) resolve(); };
      worker.onerror = reject;
    });
    worker.terminate();
    other.disconnect();
    check(heard[0].startsWith('0{'));
    same(heard.slice(1, 10), Array(9).fill('пойду спать всем спокойной ночи'));
    for (const data of heard.slice(10)) same([...new Int8Array(data)], [...five()]);
  },
  'should close the socket when receiving a beforeunload event': engine(async (socket) => {
    await next(socket, 'open');
    const state = new Promise((resolve) => addEventListener('beforeunload', () => {
      socket.write('ignored');
      resolve(socket.transport.readyState);
    }, { once: true }));
    dispatchEvent(new Event('beforeunload'));
    same(await state, 'closed');
  }, { closeOnBeforeunload: true }),
});

describe('binary fallback', {
  'should be able to receive binary data when ArrayBuffer not available (polling)': beside(async () => (await bare('engine.io-client', 'engine.io.js')).eio, async (socket) => {
    await greeted(socket);
    const data = new Promise((resolve) => socket.on('message', (one) => { if (typeof one !== 'string') resolve(one); }));
    socket.send('2["give binary"]');
    const { base64, data: encoded } = await data;
    same([base64, encoded], [true, 'AAECAwQ=']);
  }, { path, forceBase64: true }),
});

describe('blob', {
  'should be able to receive binary data as blob when bouncing it back (polling)': engine(asBlob()),
  'should be able to send data as a blob when bouncing it back (polling)': engine(ofBlob()),
  'should merge binary packets according to maxPayload value': engine(async (socket) => {
    await greeted(socket);
    let posts = 0;
    const { transport } = socket;
    const write = transport.doWrite;
    transport.doWrite = (...args) => { posts++; write.apply(transport, args); };
    const values = Array.from({ length: 60 }, (_, number) => [new Blob([new Uint8Array(100)]), 'a'.repeat(100), new Blob([new Uint8Array(70).buffer])][number % 3]);
    same((await repeated(socket, ...values)).length, values.length);
    check(posts > 2 && posts < 20, `in ${posts} requests`);
  }, { transports: ['polling'] }),
  'should be able to receive binary data as blob when bouncing it back (ws)': engine(asBlob('upgrade')),
  'should be able to send data as a blob when bouncing it back (ws)': engine(ofBlob('upgrade')),
  'should be able to send data as a blob encoded into base64 when bouncing it back (ws)': engine(ofBlob('upgrade'), { forceBase64: true }),
});
window.engineio = [];
await play(4, (one) => engineio.push(one));
window.over = true;
