// The cases of engine.io-client's own test suite (version 6), under their names, written anew against a relay.
// Their server greets with "hi" and sends back each message. A relay's messages are Socket.IO's packets: here the answer
// to a CONNECT is the greeting, the messages are events, and a partner in the same room sends them back.
// Run as: node engine_cases.mjs URL. Prints a JSON line for each case.
import { createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Clock, check, describe, next, play, quiet, same, wait } from './cases.mjs';
import { print, script } from './in_node.mjs';

const require = createRequire(import.meta.url);
const { io } = require('socket.io-client-4');
const { NodeWebSocket, NodeXHR, Socket, Transport, parse, protocol, transports } = require('engine.io-client');
const within = (path) => require(join(dirname(require.resolve('engine.io-client/package.json')), 'build', 'cjs', path));
const base = process.argv[2];
const path = '/socket.io/';
let rooms = 0;

// Sends each event of the room back.
async function partner(room) {
  const socket = io(`${base}/rooms/${room}`, { forceNew: true, transports: ['websocket'] });
  socket.on('echo', (value) => socket.emit('echo', value));
  await next(socket, 'connect');
  return socket;
}

const alone = (run, options, url = base) => async () => {
  const socket = new Socket(url, { path, ...options });
  try { await run(socket); } finally { socket.close(); }
};
const beside = (run, options, url = base) => async () => {
  const room = `engine-${rooms++}`;
  const other = await partner(room);
  try { await alone(run, { query: { room }, ...options }, url)(); } finally { other.disconnect(); }
};

async function greeted(socket) {
  if (socket.readyState !== 'open') await next(socket, 'open');
  socket.send('0');
  const [hi] = await next(socket, 'message');
  check(/^0\{"sid":/.test(hi), hi);
}

function send(socket, value) {
  if (typeof value === 'string') {
    socket.send('2' + JSON.stringify(['echo', value]));
  } else {
    socket.send('51-["echo",{"_placeholder":true,"num":0}]');
    socket.send(value);
  }
}

// The next so many values that were sent back.
const echoed = (socket, count) => new Promise((resolve, reject) => {
  const values = [];
  socket.on('message', (data) => {
    if (typeof data !== 'string') values.push(data);
    else if (data.startsWith('2["relay:position"')) return; // Follows each event.
    else if (data.startsWith('2[')) values.push(JSON.parse(data.slice(1))[1]);
    else if (!data.startsWith('51-["echo"')) reject(new Error(data));
    if (values.length === count) resolve(values);
  });
  socket.once('close', () => reject(new Error('closed')));
});
const repeated = async (socket, ...values) => {
  const back = echoed(socket, values.length);
  for (const value of values) send(socket, value);
  return back;
};
const five = () => Int8Array.of(0, 1, 2, 3, 4);
const isFive = (data) => { check(data instanceof ArrayBuffer, typeof data); same([...new Int8Array(data)], [...five()]); };
const isError = (error, type) => { check(error instanceof Error, String(error)); if (type) same(error.type, type); };

// So many that one payload cannot hold them all.
async function merged(socket, one) {
  await greeted(socket);
  const posts = [];
  const { transport } = socket;
  const write = transport.doWrite;
  transport.doWrite = (data, done) => { posts.push(data.length); write.call(transport, data, done); };
  const values = Array.from({ length: 60 }, (_, number) => one(number));
  same((await repeated(socket, ...values)).length, values.length);
  check(posts.length > 2 && posts.length < 20, `in ${posts.length} requests`);
}

const UTF8 = 'cash money €€€';
const EMOJI = '\uD800\uDC00-\uDB7F\uDFFF\uDB80\uDC00-\uDBFF\uDFFF\uE000-\uF8FF';
const POLLING = { transports: ['polling'] };
const WEBSOCKET = { transports: ['websocket'] };
const larger = (socket) => '4'.repeat(socket._maxPayload * 2);

// All clients of the process share one memory: these cases go before the others, and one by one.
const remembering = (rememberUpgrade, run) => alone(async (socket) => {
  same(socket.transport.name, 'polling');
  const name = await new Promise((resolve) => socket.on('upgrade', () => {
    const second = new Socket(base, { path, rememberUpgrade });
    resolve(second.transport.name);
    second.close();
  }));
  run(name);
});

describe('Transport › rememberUpgrade', {
  'should remember websocket connection': remembering(true, (name) => same(name, 'websocket')),
  'should not remember websocket connection': remembering(false, (name) => same(name, 'polling')),
});

await play(1, print);

describe('connection', {
  'should connect to localhost': beside(greeted),
  'should connect to localhost (ws)': beside(greeted, WEBSOCKET),
  'should receive multibyte utf-8 strings with polling': beside(async (socket) => { await greeted(socket); same(await repeated(socket, UTF8), [UTF8]); }),
  'should receive emoji': beside(async (socket) => { await greeted(socket); same(await repeated(socket, EMOJI), [EMOJI]); }),
  'should not send packets if socket closes': alone(async (socket) => { await next(socket, 'open'); const none = quiet(socket, 'packetCreate', 200); socket.close(); socket.send('hi'); await none; }),
  'should merge packets according to maxPayload value': beside((socket) => merged(socket, (number) => 'ab€d'[number % 4].repeat(number % 4 === 2 ? 60 : 180)), POLLING),
  'should send a packet whose length is above the maxPayload value anyway': beside(async (socket) => { await greeted(socket); const closed = next(socket, 'close'); socket.send(larger(socket)); socket.send('b'); await closed; }, POLLING),
  'should work in a worker': 'in Chromium',
  'should defer close when upgrading': alone(async (socket) => {
    let upgraded = false;
    socket.on('upgrade', () => { upgraded = true; });
    await next(socket, 'upgrading');
    const closed = next(socket, 'close');
    socket.close();
    await closed;
    check(upgraded);
  }),
  'should close on upgradeError if closing is deferred': alone(async (socket) => {
    let failed = false;
    socket.on('upgradeError', () => { failed = true; });
    await next(socket, 'upgrading');
    const closed = next(socket, 'close');
    socket.close();
    socket.transport.onError('upgrade error');
    await closed;
    check(failed);
  }),
  'should not send packets if closing is deferred': alone(async (socket) => {
    await next(socket, 'upgrading');
    const none = quiet(socket, 'packetCreate', 200);
    socket.close();
    socket.send('hi');
    await none;
  }),
  'should send all buffered packets if closing is deferred': async () => {
    const room = `engine-${rooms++}`;
    const other = await partner(room);
    const heard = next(other, 'echo');
    await alone(async (socket) => {
      await next(socket, 'upgrading');
      const closed = next(socket, 'close');
      socket.send('0');
      send(socket, 'hi');
      socket.close();
      await closed;
      same(socket.writeBuffer.length, 0);
    }, { query: { room } })();
    same((await heard)[0], 'hi');
    other.disconnect();
  },
  'should close the socket when receiving a beforeunload event': 'in Chromium',
});

const DENIED = { query: { deny: 1 } }; // in place of the client's own, so without a version
const opened = (name) => async (socket) => { await next(socket, 'open'); same(socket.transport.name, name); };
const unknown = { query: { sid: 'abc' } };

describe('Socket › filterUpgrades', {
  'should return only available transports': alone(async (socket) => same(socket._filterUpgrades(['polling', 'websocket']), ['polling']), POLLING),
});

describe('Socket', {
  "should not mutate the caller's transports option": async () => {
    const [both, one] = [{ transports: ['websocket', 'polling'] }, { transports: ['polling'] }];
    new Socket(base, both).close();
    new Socket(one).close();
    same([both.transports, one.transports], [['websocket', 'polling'], ['polling']]);
  },
  'throws an error when no transports are available': alone(async (socket) => same(await next(socket, 'error'), ['No transports available']), { transports: [] }),
  'should connect with the 2nd transport if tryAllTransports is `true` (polling)': alone(opened('polling'), { transports: ['websocket', 'polling'], transportOptions: { websocket: DENIED }, tryAllTransports: true }),
  'should connect with the 2nd transport if tryAllTransports is `true` (websocket)': alone(opened('websocket'), { transports: ['polling', 'websocket'], transportOptions: { polling: DENIED }, tryAllTransports: true }),
  'should not connect with the 2nd transport if tryAllTransports is `false`': alone(async (socket) => same((await next(socket, 'error'))[0].message, 'xhr poll error'), { transports: ['polling', 'websocket'], transportOptions: { polling: DENIED } }),
  'should connect with a custom transport implementation (polling)': alone(opened('polling'), { transports: [NodeXHR] }),
  'should connect with a custom transport implementation (websocket)': alone(opened('websocket'), { transports: [NodeWebSocket] }),
});

const erring = (options) => {
  const clock = new Clock();
  const errors = [];
  const socket = clock.during(() => new Socket(base, { transports: [], ...options }));
  socket.on('error', (error) => errors.push(error));
  return { clock, errors, socket };
};

describe('Socket › fake timers', {
  'uses window timeout by default': async () => { const { clock, errors } = erring(); same(errors, []); clock.tick(1); same(errors, ['No transports available']); },
  'uses custom timeout when provided': async () => { const { clock, errors, socket } = erring({ useNativeTimers: true }); const error = next(socket, 'error'); clock.tick(1); same(errors, []); same(await error, ['No transports available']); },
});

// The error, and its details at that moment.
const failure = (socket) => new Promise((resolve) => socket.once('error', (error) => {
  const { readyState, responseText } = error.context || {};
  resolve([error, readyState, responseText]);
}));
const fails = (begin, ...expected) => async (socket) => {
  const [failed, closed] = [failure(socket), next(socket, 'close')];
  await begin(socket);
  const [error, ...told] = await failed;
  isError(error, 'TransportError');
  same([error.description, error.message, ...told], expected);
  const [reason, details] = await closed;
  same(reason, 'transport error');
  isError(details);
};
const UNKNOWN = '{"code":1,"message":"Session ID unknown"}';

describe('Socket › close', {
  'provides details when maxHttpBufferSize is reached (polling)': beside(fails(async (socket) => { await greeted(socket); socket.send(larger(socket)); }, 413, 'xhr post error', 4, ''), POLLING),
  'provides details when maxHttpBufferSize is reached (websocket)': beside(async (socket) => {
    await greeted(socket);
    const closed = next(socket, 'close');
    socket.send(larger(socket));
    const [reason, { description, context }] = await closed;
    same([reason, description, context.code, context.reason], ['transport close', 'websocket connection closed', 1009, '']);
  }, WEBSOCKET),
  'provides details when the session ID is unknown (polling)': alone(fails(() => {}, 400, 'xhr poll error', 4, UNKNOWN), { ...POLLING, ...unknown }),
  'provides details when the session ID is unknown (websocket)': alone(async (socket) => {
    const closed = next(socket, 'close');
    const [error] = await next(socket, 'error');
    isError(error, 'TransportError');
    same([error.message, error.description.type], ['websocket error', 'error']);
    const [reason, details] = await closed;
    same(reason, 'transport error');
    isError(details);
  }, { ...WEBSOCKET, ...unknown }),
});

describe('Socket › throttled timer', {
  'checks the state of the timer': alone(async (socket) => {
    const closes = [];
    socket.on('close', (reason) => closes.push(reason));
    check(!socket._hasPingExpired());
    await next(socket, 'open');
    check(!socket._hasPingExpired());
    socket._pingTimeoutTime = Date.now() - 1;
    check(socket._hasPingExpired() && socket._hasPingExpired() && socket._hasPingExpired());
    await wait(10);
    same(closes, ['ping timeout']);
  }),
});

describe('Transport › public constructors', {
  'should include Transport': async () => same(typeof Transport, 'function'),
  'should include Polling and WebSocket': async () => same([typeof transports.polling, typeof transports.websocket], ['function', 'function']),
});

const uri = (name, options, expected) => async () => {
  const found = new transports[name]({ path: '/engine.io', hostname: 'localhost', secure: false, timestampRequests: false, ...options }).uri();
  check(typeof expected === 'string' ? found.includes(expected) && (name === 'polling' || found === expected) : expected.test(found), found);
};
const sid = { query: { sid: 'test' } };

describe('Transport › transport uris', {
  'should generate an http uri': uri('polling', sid, 'http://localhost/engine.io?sid=test'),
  'should generate an http uri w/o a port': uri('polling', { ...sid, port: 80 }, 'http://localhost/engine.io?sid=test'),
  'should generate an http uri with a port': uri('polling', { ...sid, port: 3000 }, 'http://localhost:3000/engine.io?sid=test'),
  'should generate an https uri w/o a port': uri('polling', { ...sid, secure: true, port: 443 }, 'https://localhost/engine.io?sid=test'),
  'should generate an https uri w/o a port (string)': uri('polling', { ...sid, secure: true, port: '443' }, 'https://localhost/engine.io?sid=test'),
  'should generate an https uri with a port': uri('polling', { ...sid, secure: true, port: 8443 }, 'https://localhost:8443/engine.io?sid=test'),
  'should generate a timestamped uri': uri('polling', { timestampParam: 't', timestampRequests: true }, /^http:\/\/localhost\/engine\.io\?t=[0-9A-Za-z_-]+/),
  'should generate an ipv6 uri': uri('polling', { hostname: '::1', port: 80 }, 'http://[::1]/engine.io'),
  'should generate an ipv6 uri with port': uri('polling', { hostname: '::1', port: 8080 }, 'http://[::1]:8080/engine.io'),
  'should generate a ws uri': uri('websocket', { hostname: 'test', query: { transport: 'websocket' } }, 'ws://test/engine.io?transport=websocket'),
  'should generate a wss uri': uri('websocket', { hostname: 'test', secure: true, query: {} }, 'wss://test/engine.io'),
  'should timestamp ws uris': uri('websocket', { timestampParam: 'woot', timestampRequests: true }, /^ws:\/\/localhost\/engine\.io\?woot=[0-9A-Za-z_-]+/),
  'should generate a ws ipv6 uri': uri('websocket', { hostname: '::1', port: 80 }, 'ws://[::1]/engine.io'),
  'should generate a ws ipv6 uri with port': uri('websocket', { hostname: '::1', port: 8080 }, 'ws://[::1]:8080/engine.io'),
});

const agent = (name) => () => new Promise((resolve) => {
  new transports[name]({ path, hostname: 'localhost', agent: { addRequest: () => resolve() } }).doOpen();
});
const HEADERS = { 'X-Custom-Header-For-My-Project': 'my-secret-access-token', Cookie: 'user_session=NI2JlCKF90aE0sJZD9Zz; path=/; HttpOnly' };
const headed = (name) => async () => check(new transports[name]({ path, hostname: 'localhost', extraHeaders: HEADERS }).opts.extraHeaders === HEADERS);
const compressed = (expected, options) => beside(async (socket) => {
  await greeted(socket);
  const { ws } = socket.transport;
  const first = new Promise((resolve) => { ws.send = (data, sending) => resolve(sending.compress); });
  socket.send('2["echo","hi"]', { compress: true });
  same(await first, expected);
}, { ...WEBSOCKET, ...options });

describe('Transport › options', {
  'should accept an `agent` option for WebSockets': agent('websocket'),
  'should accept an `agent` option for XMLHttpRequest': agent('polling'),
  'should accept an `extraHeaders` option for XMLHttpRequest in browser': alone(async (socket) => { same(socket.transport.name, 'polling'); check(socket.transport.opts.extraHeaders === HEADERS); }, { transportOptions: { polling: { extraHeaders: HEADERS } } }),
});

describe('Transport › options › for extraHeaders', {
  'should correctly set them for WebSockets': headed('websocket'),
  'should correctly set them for XMLHttpRequest': headed('polling'),
});

describe('Transport › options › perMessageDeflate', {
  'should set threshold': compressed(true, { perMessageDeflate: { threshold: 0 } }),
  'should not compress when the byte size is below threshold': compressed(false),
});

class Unopened extends Socket { open() {} }
const parsed = (expected, ...args) => async () => { const { hostname, port } = new Unopened(...args); same({ hostname, port }, expected); };

describe('engine.io-client', {
  'should expose protocol number': async () => same(typeof protocol, 'number'),
  'should properly parse http uri without port': async () => same(new Unopened('http://localhost').port, '80'),
  'should properly parse https uri without port': parsed({ hostname: 'localhost', port: '443' }, 'https://localhost'),
  'should properly parse wss uri without port': parsed({ hostname: 'localhost', port: '443' }, 'wss://localhost'),
  'should properly parse wss uri with port': parsed({ hostname: 'localhost', port: '2020' }, 'wss://localhost:2020'),
  'should properly parse a host without port': parsed({ hostname: 'localhost', port: '80' }, { host: 'localhost' }),
  'should properly parse a host with port': parsed({ hostname: 'localhost', port: '8080' }, { host: 'localhost', port: '8080' }),
  'should properly handle the addTrailingSlash option': async () => { const { hostname, opts } = new Unopened({ host: 'localhost', addTrailingSlash: false }); same([hostname, opts.path], ['localhost', '/engine.io']); },
  'should properly parse an IPv6 uri without port': parsed({ hostname: '::1', port: '80' }, 'http://[::1]'),
  'should properly parse an IPv6 uri with port': parsed({ hostname: '::1', port: '8080' }, 'http://[::1]:8080'),
  'should properly parse an IPv6 host without port (1/2)': parsed({ hostname: '::1', port: '80' }, { host: '[::1]' }),
  'should properly parse an IPv6 host without port (2/2)': parsed({ hostname: '::1', port: '443' }, { secure: true, host: '[::1]' }),
  'should properly parse an IPv6 host with port': parsed({ hostname: '::1', port: '8080' }, { host: '[::1]', port: '8080' }),
  'should properly parse an IPv6 host without brace': parsed({ hostname: '::1', port: '80' }, { host: '::1' }),
  'should generate a random string': async () => { const { randomString } = within('util.js'); const three = [randomString(), randomString(), randomString()]; same([new Set(three).size, three[0].length], [3, 8]); },
});

// A process with a client, which ends, or not, when the timer is all that would keep it.
const ends = (options) => async () => {
  const said = script(`const { Socket } = require('engine.io-client');
    new Socket(${JSON.stringify(base)}, ${JSON.stringify({ path, autoUnref: true, ...options })});
    setTimeout(() => {}, 50);`);
  same(await said.ended, 0);
};

describe('node.js › autoRef option', {
  'should stop once the timer is triggered': ends({}),
  'should stop once the timer is triggered (polling)': ends(POLLING),
  'should stop once the timer is triggered (websocket)': ends(WEBSOCKET),
  'should not stop with autoUnref set to false': async () => {
    const goes = script(`const { Socket } = require('engine.io-client');
      new Socket(${JSON.stringify(base)}, ${JSON.stringify({ path, autoUnref: false })});
      setTimeout(() => console.log('over'), 50);`);
    await goes.said;
    const ended = await Promise.race([goes.ended, wait(100).then(() => 'lives')]);
    goes.kill();
    same(ended, 'lives');
  },
});

// A proxy that pins clients by a cookie, as some do before a relay; `seen` has those of the client's posts.
async function pinning(run) {
  const seen = [];
  const cookies = ['1=1; Max-Age=86400', '2=2; Path=/; HttpOnly; Secure; SameSite=Strict', '3=3; Max-Age=0', `4=4; Expires=${new Date().toUTCString()}`];
  const proxy = createServer((asked, answer) => {
    if (asked.method === 'POST') seen.push(asked.headers.cookie);
    const { method, headers } = asked;
    const onward = request(base + asked.url, { method, headers }, (told) => {
      const setting = asked.url.includes('sid=') ? {} : { 'set-cookie': cookies };
      answer.writeHead(told.statusCode, { ...told.headers, ...setting });
      told.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    answer.on('close', () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  try { await run(`http://127.0.0.1:${proxy.address().port}`, seen); } finally { proxy.close(); proxy.closeAllConnections(); }
}
const withCookies = (withCredentials, expected) => () => pinning((url, seen) => beside(async (socket) => {
  await next(socket, 'open');
  await wait(10);
  await greeted(socket);
  same(await repeated(socket, 'hi'), ['hi']);
  check(seen.length >= 2 && seen.every((cookie) => cookie === expected), JSON.stringify(seen));
}, { ...POLLING, withCredentials }, url)());

describe('node.js', {
  'should merge binary packets according to maxPayload value': beside((socket) => merged(socket, (number) => (number % 3 ? Buffer.alloc(100) : 'a'.repeat(100))), POLLING),
  'should send cookies with withCredentials: true': withCookies(true, '1=1; 2=2'),
  'should not send cookies with withCredentials: false': withCookies(false, undefined),
});

const cookie = (text, expected) => async () => same(within('globals.node.js').parse(text), expected);

describe('cookie parsing', {
  'should parse a simple set-cookie header': cookie('foo=bar', { name: 'foo', value: 'bar' }),
  'should parse a complex set-cookie header': cookie('foo=bar; Max-Age=1000; Domain=.example.com; Path=/; Expires=Tue, 01 Jul 2025 10:01:11 GMT; HttpOnly; Secure; SameSite=strict', { name: 'foo', value: 'bar', expires: new Date(Date.UTC(2025, 6, 1, 10, 1, 11)) }),
  'should parse a weird but valid cookie': cookie('foo=bar=bar&foo=foo&John=Doe&Doe=John; Domain=.example.com; Path=/; HttpOnly; Secure', { name: 'foo', value: 'bar=bar&foo=foo&John=Doe&Doe=John' }),
});

describe('parseuri', {
  'should parse an uri': async () => {
    const parts = (text, ...names) => { const found = parse(text); return names.map((name) => found[name]); };
    same(parts('http://google.com', 'protocol', 'port', 'host'), ['http', '', 'google.com']);
    same(parts('https://www.google.com:80', 'protocol', 'port', 'host'), ['https', '80', 'www.google.com']);
    same(parts('google.com:8080/foo/bar?foo=bar', 'port', 'query', 'path', 'relative'), ['8080', 'foo=bar', '/foo/bar', '/foo/bar?foo=bar']);
    same(parts('google.com:8080/foo/bar?foo=bar', 'queryKey', 'pathNames'), [{ foo: 'bar' }, ['foo', 'bar']]);
    same(parts('localhost:8080', 'protocol', 'host', 'port'), ['', 'localhost', '8080']);
    for (const [text, host, port] of [['2001:0db8:85a3:0042:1000:8a2e:0370:7334', null, ''], ['2001:db8:85a3:42:1000:8a2e:370:7334', null, ''], ['2001:db8:85a3:42:1000:8a2e:370:7334:80', '2001:db8:85a3:42:1000:8a2e:370:7334', '80'], ['2001::7334:a:80', null, '']]) {
      same(parts(text, 'protocol', 'host', 'port'), ['', host || text, port]);
    }
    same(parts('http://[2001::7334:a]:80', 'protocol', 'port', 'host'), ['http', '80', '2001::7334:a']);
    same(parts('http://[2001::7334:a]:80/foo/bar?foo=bar', 'protocol', 'port', 'host', 'relative'), ['http', '80', '2001::7334:a', '/foo/bar?foo=bar']);
    same(parts('ws://foo:bar@google.com', 'protocol', 'userInfo', 'user', 'password', 'host'), ['ws', 'foo:bar', 'foo', 'bar', 'google.com']);
    same(parts('/foo?bar=@example.com', 'host', 'path', 'query'), ['', '/foo', 'bar=@example.com']);
    let thrown;
    try { parse('a'.repeat(8001)); } catch (error) { thrown = error; }
    check(thrown);
  },
});

const bounced = (prepare, ...values) => async (socket) => {
  socket.binaryType = 'arraybuffer';
  if (prepare) await next(socket, prepare);
  await greeted(socket);
  const [data, text] = await repeated(socket, five(), ...values);
  isFive(data);
  same(text, values[0]);
  return socket.transport.name;
};
const overSocket = (...values) => async (socket) => same(await bounced('upgrade', ...values)(socket), 'websocket');

describe('arraybuffer', {
  'should be able to receive binary data when bouncing it back (polling)': beside(bounced(null), POLLING),
  'should be able to receive binary data and a multibyte utf-8 string (polling)': beside(bounced(null, UTF8), POLLING),
  'should be able to receive binary data when forcing base64 (polling)': beside(bounced(null), { forceBase64: true }),
  'should merge binary packets according to maxPayload value': beside((socket) => merged(socket, (number) => [new Uint8Array(100), 'a'.repeat(100), new Uint8Array(70).buffer][number % 3]), POLLING),
  'should be able to receive binary data when bouncing it back (ws)': beside(overSocket()),
  'should be able to receive binary data and a multibyte utf-8 string (ws)': beside(overSocket(UTF8)),
  'should be able to receive binary data when bouncing it back and forcing base64 (ws)': beside(overSocket(), { forceBase64: true }),
});

describe('binary fallback', {
  'should be able to receive binary data when ArrayBuffer not available (polling)': 'in Chromium',
});

describe('blob', {
  'should be able to receive binary data as blob when bouncing it back (polling)': 'in Chromium',
  'should be able to send data as a blob when bouncing it back (polling)': 'in Chromium',
  'should merge binary packets according to maxPayload value': 'in Chromium',
  'should be able to receive binary data as blob when bouncing it back (ws)': 'in Chromium',
  'should be able to send data as a blob when bouncing it back (ws)': 'in Chromium',
  'should be able to send data as a blob encoded into base64 when bouncing it back (ws)': 'in Chromium',
});

describe('XMLHttpRequest › IE8_9 › when xdomain is false', { 'should have same properties as XMLHttpRequest does': null });
describe('XMLHttpRequest › IE8_9 › when xdomain is true › when xscheme is false and enablesXDR is true', { 'should have same properties as XDomainRequest does': null });
describe('XMLHttpRequest › IE8_9 › when xdomain is true › when xscheme is true', { 'should not have open in properties': null });
describe('XMLHttpRequest › IE8_9 › when xdomain is true › when enablesXDR is false', { 'should not have open in properties': null });
describe('XMLHttpRequest › IE10_11 › when enablesXDR is true and xscheme is false', { 'should have same properties as XMLHttpRequest does': null });

describe('WebTransport', {
  'should allow to connect with WebTransport directly': null,
  'should allow to upgrade to WebTransport': null,
  'should favor WebTransport over WebSocket': null,
  'should send ping/pong packets': null,
  'should handle connections closed by the server': null,
  'should handle connections closed by the client': null,
  'should send some plaintext data (client to server)': null,
  'should send some plaintext data (server to client)': null,
  'should send some binary data (client to server)': null,
  'should send some binary data (server to client) (as ArrayBuffer)': null,
  'should send some binary data (server to client) (as Buffer)': null,
});

await play(6, print);
process.exit(0);
