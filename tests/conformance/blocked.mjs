// Three members in Node, each with relay.js over its own network, talk while WebSockets are blocked and let through. Run as:
// node blocked.mjs ROOM URL URL URL. Reads commands, and prints a JSON line for each event.
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

import { Relay } from '../../relay/pages/client/relay.js';

const [name, ...urls] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const members = urls.map((url, number) => {
  const relay = new Relay(url.split(','), { WebSocket, peer: `member-${number}`, probeInterval: 400, pingInterval: 2000, pingTimeout: 2000 });
  const room = relay.join(name);
  const member = { room, said: 0, heard: {}, told: [], failed: [], transports: [] };
  room.on('message', ({ from, message }) => (member.heard[from] ??= []).push(message));
  for (const type of ['open', 'join', 'leave', 'reconnecting', 'resumed', 'error', 'close']) {
    room.on(type, ({ code, peer, recovered }) => {
      member.told.push([type, peer ?? code ?? recovered ?? null]);
      if (room.transport && room.transport !== member.transports.at(-1)) member.transports.push(room.transport);
    });
  }
  return member;
});

let talking;
const commands = {
  talk() {
    talking = setInterval(() => {
      for (const member of members) member.room.send(member.said++).catch(({ code }) => member.failed.push(code));
    }, 20);
  },
  hush() { clearInterval(talking); },
  async leave() {
    await Promise.all(members.map(({ room }) => room.leave()));
    process.exit(0);
  },
  look() {},
};

createInterface({ input: process.stdin }).on('line', async (line) => {
  await commands[line]();
  say(members.map(({ room, ...member }) => ({ ...member, transport: room.transport, waiting: room.waiting,
    members: room.members, duplicates: room.duplicates, resent: room.resent })));
});
await Promise.all(members.map(({ room }) => room.ready));
say('ready');
