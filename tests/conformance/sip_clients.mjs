// JsSIP and SIP.js in Node, unmodified, with the WebRTC of the package @roamhq/wrtc. Reads commands and prints events, each a
// line of JSON; programs.py says how. `open` makes a user agent of the library `jssip` or `sipjs`, for `user` at `url`, with
// further `options`; the other commands are methods of the classes below.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

import wrtc from '@roamhq/wrtc';
import WebSocket from 'ws';

const source = new wrtc.nonstandard.RTCAudioSource();
const audio = () => new wrtc.MediaStream([source.createTrack()]);
const navigator = { userAgent: 'node', mediaDevices: { getUserMedia: async () => audio() } };
Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
class MediaStreamTrackEvent extends Event {
  constructor(type, { track }) {
    super(type);
    this.track = track;
  }
}
Object.assign(globalThis, wrtc, { MediaStreamTrackEvent, WebSocket });
globalThis.window = globalThis;
const JsSIP = createRequire(import.meta.url)('jssip');
const { Inviter, Messager, Registerer, RegistererState, SessionState, UserAgent } = await import('sip.js');

// Lines that SIP.js logs are no events.
for (const level of ['log', 'info', 'debug']) console[level] = console.error;

const agents = new Map();
const say = (client, what, fields = {}) => process.stdout.write(JSON.stringify({ client, what, ...fields }) + '\n');
const media = { mediaStream: audio(), pcConfig: { iceServers: [] } };
// Silence goes out all the time, as a microphone's noise does.
setInterval(() => source.onData({ samples: new Int16Array(480), sampleRate: 48000, bitsPerSample: 16, channelCount: 1 }), 10);

class Jssip {
  constructor(client, { url, user, options }) {
    const socket = new JsSIP.WebSocketInterface(url);
    this.client = client;
    this.socket = socket;
    this.ua = new JsSIP.UA({ sockets: [socket], uri: `sip:${user}@localhost`, connection_recovery_min_interval: 1, ...options });
    this.ua.on('registered', () => say(client, 'registered'));
    this.ua.on('registrationFailed', ({ cause }) => say(client, 'refused', { cause }));
    this.ua.on('disconnected', () => say(client, 'disconnected'));
    this.ua.on('newMessage', ({ originator, request }) => {
      if (originator === 'remote') say(client, 'message', { from: request.from.uri.user, body: request.body });
    });
    this.ua.on('newRTCSession', ({ originator, session }) => this.watch(originator, session));
    this.ua.start();
  }

  watch(originator, session) {
    const { client } = this;
    this.session = session;
    session.on('progress', () => say(client, 'progress'));
    session.on('confirmed', () => say(client, 'confirmed'));
    session.on('ended', ({ originator: by, cause }) => say(client, 'ended', { by, cause }));
    session.on('failed', ({ cause }) => say(client, 'failed-call', { cause }));
    session.on('hold', ({ originator: by }) => say(client, 'hold', { by }));
    session.on('unhold', ({ originator: by }) => say(client, 'unhold', { by }));
    session.on('newDTMF', ({ originator: by, dtmf }) => by === 'remote' && say(client, 'dtmf', { tone: dtmf.tone }));
    session.on('newInfo', ({ originator: by, info }) => by === 'remote' && say(client, 'info', { body: info.body }));
    session.on('refer', ({ accept }) => accept((next) => this.watch('local', next), media));
    const connection = ({ peerconnection }) => {
      const report = () => peerconnection.connectionState === 'connected' && say(client, 'connected');
      peerconnection.addEventListener('connectionstatechange', report);
    };
    if (session.connection) connection({ peerconnection: session.connection });
    session.on('peerconnection', connection);
    if (originator === 'remote') say(client, 'call', { from: session.remote_identity.uri.user });
  }

  call({ to }) { this.ua.call(`sip:${to}@localhost`, media); }
  answer() { this.session.answer(media); }
  reject() { this.session.terminate({ status_code: 486 }); }
  end() { this.session.terminate(); }
  hold({ update }) { this.session.hold({ useUpdate: update }, () => say(this.client, 'changed')); }
  unhold({ update }) { this.session.unhold({ useUpdate: update }, () => say(this.client, 'changed')); }
  dtmf({ tone }) { this.session.sendDTMF(tone); }
  info({ body }) { this.session.sendInfo('application/json', body); }
  transfer({ to }) {
    const refer = this.session.refer(`sip:${to}@localhost`);
    refer.on('accepted', () => say(this.client, 'transferred'));
  }

  message({ to, body, type }) {
    this.ua.sendMessage(`sip:${to}@localhost`, body, {
      contentType: type ?? 'text/plain',
      eventHandlers: {
        succeeded: () => say(this.client, 'sent'),
        failed: ({ cause }) => say(this.client, 'not-sent', { cause }),
      },
    });
  }

  // The socket of the library, whose TCP connection ends without a close frame.
  lose() { this.socket._ws.terminate(); }
  stop() { this.ua.stop(); }
}

class Sipjs {
  constructor(client, { url, user, options }) {
    this.client = client;
    this.agent = new UserAgent({
      uri: UserAgent.makeURI(`sip:${user}@localhost`),
      transportOptions: { server: url, keepAliveInterval: 1 },
      sessionDescriptionHandlerFactoryOptions: { peerConnectionConfiguration: { iceServers: [] }, iceGatheringTimeout: 500 },
      logLevel: 'error',
      logBuiltinEnabled: false,
      delegate: {
        onInvite: (invitation) => this.watch(invitation, 'remote'),
        onMessage: (message) => {
          const { request } = message;
          message.accept();
          say(client, 'message', { from: request.from.uri.user, body: request.body });
        },
        onDisconnect: () => say(client, 'disconnected'),
      },
      ...options,
    });
    this.registerer = new Registerer(this.agent);
    this.registerer.stateChange.addListener((state) => {
      if (state === RegistererState.Registered) say(client, 'registered');
    });
    const onReject = ({ message }) => say(client, 'refused', { cause: message.statusCode });
    this.agent.start().then(() => this.registerer.register({ requestDelegate: { onReject } }));
  }

  watch(session, originator) {
    const { client } = this;
    this.session = session;
    session.delegate = {
      onInfo: (info) => {
        info.accept();
        const tone = /Signal=\s*(\S+)/.exec(info.request.body)?.[1];
        say(client, tone ? 'dtmf' : 'info', tone ? { tone } : { body: info.request.body });
      },
    };
    session.stateChange.addListener((state) => {
      if (state === SessionState.Established) {
        say(client, 'confirmed');
        const { peerConnection } = session.sessionDescriptionHandler;
        const report = () => peerConnection.connectionState === 'connected' && say(client, 'connected');
        peerConnection.addEventListener('connectionstatechange', report);
        report();
      }
      if (state === SessionState.Terminated) say(client, 'ended');
    });
    if (originator === 'remote') say(client, 'call', { from: session.remoteIdentity.uri.user });
  }

  call({ to }) {
    const inviter = new Inviter(this.agent, UserAgent.makeURI(`sip:${to}@localhost`));
    this.watch(inviter, 'local');
    const onReject = ({ message }) => say(this.client, 'rejected', { cause: message.statusCode });
    inviter.invite({ requestDelegate: { onReject } });
  }

  answer() { this.session.accept(); }
  reject() { this.session.reject({ statusCode: 486 }); }
  end() { this.session.state === SessionState.Established ? this.session.bye() : this.session.cancel(); }
  message({ to, body, type }) {
    new Messager(this.agent, UserAgent.makeURI(`sip:${to}@localhost`), body, type ?? 'text/plain').message({
      requestDelegate: {
        onAccept: () => say(this.client, 'sent'),
        onReject: ({ message }) => say(this.client, 'not-sent', { cause: message.statusCode }),
      },
    });
  }

  stop() { this.agent.stop(); }
}

const libraries = { jssip: Jssip, sipjs: Sipjs };

createInterface({ input: process.stdin }).on('line', async (line) => {
  const { do: name, client, ...fields } = JSON.parse(line);
  if (name === 'open') agents.set(client, new libraries[fields.library](client, fields));
  else if (name === 'run') {
    // A snippet of the documentation, in which imports are dynamic.
    const run = Object.getPrototypeOf(async () => {}).constructor;
    await new run('JsSIP', 'UserAgent', 'Registerer', 'ua', 'console', `{ ${fields.code} }`)(
      JsSIP, UserAgent, Registerer, agents.get(client)?.ua, { log: (value) => say(client, 'logged', { value }) },
    );
  } else agents.get(client)[name](fields);
}).on('close', () => process.exit());
