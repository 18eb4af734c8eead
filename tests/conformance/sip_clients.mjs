// JsSIP and SIP.js in Node, unmodified, with the WebRTC of the package @roamhq/wrtc. Reads commands and prints events, each a
// line of JSON; programs.py says how. `open` makes a user agent of the library `jssip` or `sipjs`, for `user` at `urls`, with
// further `options`; the other commands are methods of the classes in sip_agents.mjs, and those below.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

import wrtc from '@roamhq/wrtc';
import WebSocket from 'ws';

import { agents as classes } from './sip_agents.mjs';

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
const SIP = await import('sip.js');

// Lines that SIP.js logs are no events.
for (const level of ['log', 'info', 'debug']) console[level] = console.error;

const agents = new Map();
const say = (client, what, fields = {}) => process.stdout.write(JSON.stringify({ client, what, ...fields }) + '\n');
const media = () => ({ mediaStream: audio(), pcConfig: { iceServers: [] } });
// Silence goes out all the time, as a microphone's noise does.
setInterval(() => source.onData({ samples: new Int16Array(480), sampleRate: 48000, bitsPerSample: 16, channelCount: 1 }), 10);

const libraries = classes({ JsSIP, SIP, say, media });
const commands = {
  open: (client, { library, ...options }) => agents.set(client, new libraries[library](client, options)),
  // The TCP connection of the library's socket ends without a close frame.
  lose(client) {
    const { sockets, agent } = agents.get(client);
    for (const socket of sockets ?? [agent.transport]) socket._ws?.terminate();
  },
  // A snippet of the documentation, in which imports are dynamic.
  async run(client, { code }) {
    const run = Object.getPrototypeOf(async () => {}).constructor;
    await new run('JsSIP', 'UserAgent', 'Registerer', 'ua', 'console', `{ ${code} }`)(
      JsSIP, SIP.UserAgent, SIP.Registerer, agents.get(client)?.ua, { log: (value) => say(client, 'logged', { value }) },
    );
  },
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: name, client, ...fields } = JSON.parse(line);
  if (name in commands) commands[name](client, fields);
  else agents.get(client)[name](fields);
}).on('close', () => process.exit());
