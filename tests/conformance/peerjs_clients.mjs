// PeerJS in Node, unmodified, with the WebRTC of the package @roamhq/wrtc. Reads commands and prints events, each a line of
// JSON; programs.py says how. Commands: `open` (`options`, and `id` or none), `connect` (`to`, `options`), `send` (`data`),
// `relay` (`payload`, and `dst` or none), `lose`, `reconnect`, `disconnect`, `destroy`, `list`.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

import wrtc from '@roamhq/wrtc';
import WebSocket from 'ws';

Object.assign(globalThis, wrtc, { WebSocket, location: { protocol: 'http:', hostname: '127.0.0.1' } });
globalThis.window = globalThis;
const { Peer } = createRequire(import.meta.url)('peerjs');

const peers = new Map();
const say = (client, what, fields = {}) => process.stdout.write(JSON.stringify({ client, what, ...fields }) + '\n');

function watch(client, entry, connection) {
  entry.connection = connection;
  connection.on('open', () => say(client, 'connected', { peer: connection.peer, metadata: connection.metadata ?? null }));
  connection.on('data', (data) => say(client, 'data', { data }));
  connection.on('close', () => say(client, 'closed'));
}

const commands = {
  open(client, { id, options }) {
    const peer = id ? new Peer(id, options) : new Peer(options);
    const entry = { peer };
    peers.set(client, entry);
    peer.on('open', (own) => say(client, 'open', { id: own }));
    peer.on('connection', (connection) => watch(client, entry, connection));
    peer.on('disconnected', () => say(client, 'disconnected'));
    peer.on('close', () => say(client, 'destroyed'));
    peer.on('error', ({ type, message }) => say(client, 'error', { type, message }));
    peer.socket.on('message', (message) => {
      if (message.type.startsWith('RELAY')) say(client, 'relayed', { message });
    });
  },
  connect: (client, { to, options }) => watch(client, peers.get(client), peers.get(client).peer.connect(to, options)),
  send: (client, { data }) => peers.get(client).connection.send(data),
  relay: (client, { payload, dst }) => peers.get(client).peer.socket.send({ type: 'RELAY', payload, dst }),
  // The socket of the library, whose TCP connection ends without a close frame.
  lose: (client) => peers.get(client).peer.socket._socket.terminate(),
  reconnect: (client) => peers.get(client).peer.reconnect(),
  disconnect: (client) => peers.get(client).peer.disconnect(),
  destroy: (client) => peers.get(client).peer.destroy(),
  list: (client) => peers.get(client).peer.listAllPeers((ids) => say(client, 'listed', { ids })),
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: name, client, ...fields } = JSON.parse(line);
  commands[name](client, fields);
}).on('close', () => process.exit());
