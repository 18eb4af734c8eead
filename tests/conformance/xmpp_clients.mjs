// Clients of XMPP in Node, unmodified: strophe.js, @xmpp/client and stanza. Reads commands and prints events, each a line of
// JSON; programs.py says how. Commands: `open` (`library`, `url`, and `user` with `token`, or none; `resume` for stream
// management), `join` (`room`, `nick`, `password`), `say` (`room`, `body`), `tell` (`to`, `body`), `topic` (`room`, `text`),
// `leave` (`room`, `nick`), `ask` (`to`, or none: a ping), `lose`, `close`.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

import WebSocket from 'ws';

globalThis.WebSocket = WebSocket;
// Standard output is for the events alone, and Strophe logs there.
console.log = console.info = console.debug = console.warn = () => {};
const require = createRequire(import.meta.url);
const say = (client, what, fields = {}) => process.stdout.write(JSON.stringify({ client, what, ...fields }) + '\n');
const DOMAIN = 'localhost';
const MUC = 'http://jabber.org/protocol/muc';
let ids = 0;

// The parts of a stanza that the tests look at, from an object with `name`, `attrs`, `texts` and `codes`.
function report(client, { name, attrs, texts, codes }) {
  say(client, name, { from: attrs.from ?? '', type: attrs.type ?? '', id: attrs.id ?? '', ...texts, codes });
}

async function strophe(client, { url, user, token, resume }) {
  const { Strophe, $pres, $msg, $iq } = await import('strophe.js');
  const connection = new Strophe.Connection(url, { enableStreamManagement: Boolean(resume) });
  const names = Object.fromEntries(Object.entries(Strophe.Status).map(([name, value]) => [value, name]));
  const text = (stanza, tag) => stanza.getElementsByTagName(tag)[0]?.textContent;
  const show = (stanza) => {
    const attrs = Object.fromEntries([...stanza.attributes].map(({ name, value }) => [name, value]));
    const codes = [...stanza.getElementsByTagName('status')].map((one) => one.getAttribute('code')).filter(Boolean);
    const texts = { body: text(stanza, 'body'), subject: text(stanza, 'subject'), code: text(stanza, 'code') };
    report(client, { name: stanza.nodeName, attrs, texts, codes });
    return true;
  };
  // Its own answer to an IQ of which it knows nothing has no receiver.
  const pong = (iq) => {
    connection.send($iq({ type: 'result', to: iq.getAttribute('from'), id: iq.getAttribute('id') }));
    return true;
  };
  const watch = () => {
    for (const name of ['message', 'presence']) connection.addHandler(show, null, name);
    connection.addHandler(pong, 'urn:xmpp:ping', 'iq', 'get');
  };
  const connect = () => connection.connect(user ? `${user}@${DOMAIN}` : DOMAIN, token ?? null, (status, condition) => {
    say(client, names[status].toLowerCase(), { condition: String(condition ?? ''), jid: connection.jid,
      resumed: connection.hasResumed?.() ?? false });
  });
  watch();
  connect();
  return {
    join({ room, nick, password }) {
      const presence = $pres({ to: `${room}/${nick}`, id: `j${++ids}` }).c('x', { xmlns: MUC });
      connection.send(password ? presence.c('password').t(password) : presence);
    },
    say: ({ room, body }) => connection.send($msg({ to: room, type: 'groupchat', id: `m${++ids}` }).c('body').t(body)),
    tell: ({ to, body }) => connection.send($msg({ to, type: 'chat', id: `m${++ids}` }).c('body').t(body)),
    topic: ({ room, text: topic }) => connection.send($msg({ to: room, type: 'groupchat' }).c('subject').t(topic)),
    leave: ({ room, nick }) => connection.send($pres({ to: `${room}/${nick}`, type: 'unavailable', id: `l${++ids}` })),
    ask: ({ to }) => connection.sendIQ($iq({ type: 'get', ...(to ? { to } : {}) }).c('ping', { xmlns: 'urn:xmpp:ping' }),
      () => say(client, 'answer', { ok: true }), (error) => say(client, 'answer', { ok: false, code: text(error, 'code') })),
    lose: () => connection._proto.socket.terminate(),
    again() { watch(); connect(); },
    close: () => connection.disconnect('bye'),
  };
}

async function xmppClient(client, { url, user, token }) {
  const { client: make, xml } = await import('@xmpp/client');
  const xmpp = make({ service: url, domain: DOMAIN, ...(user ? { username: user, password: token } : {}) });
  xmpp.on('error', (error) => say(client, 'error', { condition: error.condition ?? error.code ?? String(error) }));
  xmpp.on('online', (jid) => say(client, 'connected', { jid: String(jid) }));
  xmpp.on('disconnect', () => say(client, 'disconnected'));
  xmpp.streamManagement?.on('resumed', () => say(client, 'resumed'));
  xmpp.on('stanza', (stanza) => {
    if (stanza.name === 'iq') return;
    const codes = stanza.getChild('x')?.getChildren('status').map((one) => one.attrs.code) ?? [];
    const texts = { body: stanza.getChildText('body') ?? undefined, subject: stanza.getChildText('subject') ?? undefined,
      code: stanza.getChild('error')?.getChildText('code') ?? undefined };
    report(client, { name: stanza.name, attrs: stanza.attrs, texts, codes });
  });
  xmpp.start().catch((error) => say(client, 'failed', { condition: error.condition ?? String(error) }));
  return {
    join: ({ room, nick, password }) => xmpp.send(xml('presence', { to: `${room}/${nick}`, id: `j${++ids}` },
      xml('x', { xmlns: MUC }, password ? xml('password', {}, password) : undefined))),
    say: ({ room, body }) => xmpp.send(xml('message', { to: room, type: 'groupchat', id: `m${++ids}` },
      xml('body', {}, body))),
    tell: ({ to, body }) => xmpp.send(xml('message', { to, type: 'chat', id: `m${++ids}` }, xml('body', {}, body))),
    topic: ({ room, text }) => xmpp.send(xml('message', { to: room, type: 'groupchat' }, xml('subject', {}, text))),
    leave: ({ room, nick }) => xmpp.send(xml('presence', { to: `${room}/${nick}`, type: 'unavailable', id: `l${++ids}` })),
    ask: ({ to }) => xmpp.iqCaller.get(xml('ping', 'urn:xmpp:ping'), to || undefined).then(
      () => say(client, 'answer', { ok: true }),
      (error) => say(client, 'answer', { ok: false, code: error.application?.text() })),
    lose: () => xmpp.socket.socket.terminate(),
    close: () => xmpp.stop(),
  };
}

async function stanza(client, { url, user, token, resume }) {
  const XMPP = require('stanza');
  const xmpp = XMPP.createClient({ ...(user ? { jid: `${user}@${DOMAIN}`, password: token } : { sasl: ['anonymous'], server: DOMAIN,
    jid: DOMAIN }), transports: { websocket: url, bosh: false }, autoReconnect: Boolean(resume) });
  xmpp.on('session:started', () => say(client, 'connected', { jid: xmpp.jid }));
  xmpp.on('stream:management:resumed', () => say(client, 'resumed'));
  xmpp.on('disconnected', () => say(client, 'disconnected'));
  xmpp.on('auth:failed', () => say(client, 'authfail'));
  xmpp.on('message', (message) => report(client, { name: 'message', attrs: message, codes: [],
    texts: { body: message.body, subject: message.hasSubject ? message.subject ?? '' : undefined } }));
  xmpp.on('presence', (presence) => report(client, { name: 'presence', attrs: { ...presence, type: presence.type ??
    (presence.error ? 'error' : presence.available === false ? 'unavailable' : '') },
    texts: {}, codes: presence.muc?.statusCodes ?? [] }));
  xmpp.connect();
  return {
    join: ({ room, nick, password }) => xmpp.joinRoom(room, nick, password ? { muc: { type: 'join', password } } : {}).then(
      () => say(client, 'entered'), () => say(client, 'refused')),
    say: ({ room, body }) => xmpp.sendMessage({ to: room, type: 'groupchat', body }),
    tell: ({ to, body }) => xmpp.sendMessage({ to, type: 'chat', body }),
    topic: ({ room, text }) => xmpp.sendMessage({ to: room, type: 'groupchat', subject: text }),
    leave: ({ room }) => xmpp.leaveRoom(room),
    ask: ({ to }) => xmpp.ping(to || undefined).then(() => say(client, 'answer', { ok: true }),
      () => say(client, 'answer', { ok: false })),
    lose: () => xmpp.transport.socket.terminate(),
    close: () => xmpp.disconnect(),
  };
}

const libraries = { strophe, 'xmpp-client': xmppClient, stanza };
const clients = new Map();

createInterface({ input: process.stdin }).on('line', async (line) => {
  const { do: name, client, ...fields } = JSON.parse(line);
  if (name === 'open') clients.set(client, libraries[fields.library](client, fields));
  else (await clients.get(client))[name](fields);
}).on('close', () => process.exit());
