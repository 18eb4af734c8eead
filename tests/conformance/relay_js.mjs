// relay.js in Node. Run as: node relay_js.mjs URL ROOM TOKEN…; the tokens are handed out one after the other, the last one
// again and again. Prints a JSON line for each event, and ends when the room is over for this client.
import WebSocket from 'ws';

import { Relay } from '../../relay/pages/client/relay.js';

const [url, name, ...tokens] = process.argv.slice(2);
const say = (...line) => process.stdout.write(JSON.stringify(line) + '\n');
let asked = 0;

async function token() {
  say('asked');
  return tokens[Math.min(asked++, tokens.length - 1)];
}

const relay = new Relay(url, { token, WebSocket });
const room = relay.join(name);
for (const type of ['reconnecting', 'error', 'rules', 'kicked', 'closed', 'move', 'close']) {
  room.on(type, ({ code, reason, rules, to }) => say(type, code ?? to ?? rules?.locked ?? null, reason ?? ''));
}
room.ready.then(async () => say('ready', room.peer, (await relay.presence(name)).count), () => {});
