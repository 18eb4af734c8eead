// Socket.IO clients of every version, many in one process. Reads commands as JSON lines from standard input, and prints
// a JSON line for each event: {client, what, …}.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(import.meta.url);
const clients = {};

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const plain = (value) => {
  if (value instanceof ArrayBuffer) return { bytes: Buffer.from(value).toString('base64') };
  if (ArrayBuffer.isView(value)) return { bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  return value;
};
// {bytes: Base64} in a command stands for a Buffer.
const revive = (value) => {
  if (Array.isArray(value)) return value.map(revive);
  if (value && typeof value === 'object') {
    if (typeof value.bytes === 'string' && Object.keys(value).length === 1) return Buffer.from(value.bytes, 'base64');
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revive(v)]));
  }
  return value;
};

const commands = {
  open({ client, version, url, options }) {
    const io = require(`socket.io-client-${version}`);
    if (version === '0.9') io.transports.splice(0, 9, ...options.transports);
    // Asked anew at each connect, as a page asks its server for a token.
    const { auths } = options;
    if (auths) options.auth = (give) => give(auths.length > 1 ? auths.shift() : auths[0]);
    const socket = (io.connect || io)(url, { forceNew: true, 'force new connection': true, ...options });
    clients[client] = socket;
    const tell = (what, more = {}) => say({ client, what, ...more });
    const engine = () => socket.io && socket.io.engine;
    const transport = () => (engine() ? engine().transport.name : socket.socket.transport.name);
    socket.on('connect', () => {
      tell('connect', { id: socket.id, recovered: socket.recovered || false, transport: transport() });
      if (!engine() || (options.transports || []).length < 2) return;
      const upgraded = () => tell('upgrade', { transport: transport() });
      if (transport() === 'websocket') upgraded(); else engine().once('upgrade', upgraded);
    });
    socket.on('disconnect', (reason) => tell('disconnect', { reason }));
    socket.on('connect_error', (error) => tell('connect_error', { message: String(error.message || error), data: error.data }));
    socket.on('connect_failed', (reason) => tell('connect_error', { message: String(reason) }));
    const event = (name, args) => tell('event', { name, args: args.map(plain) });
    if (socket.onAny) {
      socket.onAny((name, ...args) => event(name, args));
    } else if (socket.onevent) {
      const onevent = socket.onevent;
      socket.onevent = function (packet) {
        const [name, ...args] = packet.data;
        event(name, args);
        return onevent.call(this, packet);
      };
      socket.on('error', (error) => { if (typeof error === 'string') tell('connect_error', { message: error }); });
    } else {
      const onPacket = socket.onPacket;
      socket.onPacket = function (packet) {
        if (packet.type === 'event') event(packet.name, packet.args);
        else if (packet.type === 'message' || packet.type === 'json') event('message', [packet.data]);
        return onPacket.call(this, packet);
      };
      socket.on('error', (error) => tell('connect_error', { message: String(error) }));
    }
  },
  emit({ client, args, ack }) {
    const values = args.map(revive);
    if (ack) values.push((...answer) => say({ client, what: 'ack', mark: ack, answer: answer.map(plain) }));
    clients[client].emit(...values);
  },
  send({ client, args }) { clients[client].send(...args.map(revive)); },
  disconnect({ client }) { clients[client].disconnect(); },
  // As if the network were gone for a moment: the library comes back by itself.
  lose({ client }) { clients[client].io.engine.close(); },
  connect({ client }) { clients[client].connect(); },
};

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const { do: name, ...rest } = JSON.parse(line);
  try { commands[name](rest); } catch (error) { say({ client: rest.client, what: 'thrown', error: String(error.stack) }); }
});
lines.on('close', () => process.exit(0));
