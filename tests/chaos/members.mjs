// The JavaScript members of the chaos suite: reads commands, and writes events, as JSON lines.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { Client } from '../../docs/clients/client.mjs';

const require = createRequire(new URL('../conformance/package.json', import.meta.url));
const WebSocket = require('ws');
const { Manager } = require('socket.io-client-4');

const members = new Map();

function report(member, event) {
  process.stdout.write(JSON.stringify({ member, ...event }) + '\n');
}

class Reference {
  constructor(number, { urls, room, peer, slow }) {
    const onEvent = (event, value) => {
      this.#state();
      report(number, { event, value: value instanceof Set ? [...value] : value });
    };
    this.number = number;
    this.client = new Client(urls, room, peer, onEvent, { slow, WebSocket });
    this.client.run().then((code) => report(number, { event: 'closed', code }));
  }

  #state() {
    report(this.number, { event: 'state', welcomes: this.client.welcomes, duplicates: this.client.duplicates });
  }

  publish(envelope) { return this.client.publish(envelope); }

  drop() { this.client.socket?.terminate(); }

  leave() { this.client.leave(); }
}

/** A client of Socket.IO 4 that sends each message again until it is acknowledged; it knows one worker. */
class SocketIo {
  constructor(number, { urls, room }) {
    const url = urls[0].replace('ws:', 'http:');
    const manager = new Manager(url, {
      // With the offset in the event itself, no event comes twice.
      query: { offsets: 'argument' }, transports: ['websocket'], reconnectionDelay: 50, reconnectionDelayMax: 500,
      timeout: 1500,
    });
    this.socket = manager.socket(`/rooms/${encodeURIComponent(room)}`, { retries: 1000, ackTimeout: 1500 });
    let welcomes = 0;
    this.socket.on('connect', () => {
      welcomes += 1;
      report(number, { event: 'identity', value: { peer: this.socket.id, recovered: this.socket.recovered } });
      report(number, { event: 'state', welcomes, duplicates: 0 });
    });
    this.socket.on('message', (envelope) => report(number, { event: 'message', value: envelope }));
  }

  publish(envelope) {
    return new Promise((resolve, reject) => {
      this.socket.emit('message', envelope, (error, answer) => {
        if (error || answer?.error) reject(error ?? new Error(answer.error.code));
        else resolve(answer?.id);
      });
    });
  }

  drop() { this.socket.io.engine?.transport?.ws?.terminate(); }

  leave() { this.socket.disconnect(); }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { member, do: command, ...fields } = JSON.parse(line);
  if (command === 'join') {
    members.set(member, new (fields.kind === 'socketio' ? SocketIo : Reference)(member, fields));
  } else if (command === 'publish') {
    const { number, envelope } = fields;
    members.get(member).publish(envelope).then(
      (id) => report(member, { event: 'answer', number, id }),
      (error) => report(member, { event: 'answer', number, error: String(error) }),
    );
  } else {
    members.get(member)[command]();
  }
});
