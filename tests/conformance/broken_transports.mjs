// Clients whose upgrades are interrupted and whose requests are broken off, again and again: acknowledged events are heard once.
// Arguments: seconds, and the addresses of the workers. Prints the count as JSON.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import { io } from 'socket.io-client-4';

const [seconds, ...urls] = process.argv.slice(2);
const NUMBER = 8;
const count = { sent: 0, acknowledged: 0, interrupted: 0, brokenOff: 0, upgraded: 0, back: 0, recovered: 0 };
const clients = Array.from({ length: NUMBER }, (_, number) => make(`c${number}`, urls[number % urls.length], number % 2));
let talking = true;

function make(name, url, pollsOnly) {
  // Kept alive, so that a connection can be broken in the middle of a request.
  const agent = new http.Agent({ keepAlive: true });
  const socket = io(`${url}/rooms/broken`, {
    agent, forceNew: true, transports: pollsOnly ? ['polling'] : ['polling', 'websocket'], reconnectionDelay: 50,
    reconnectionDelayMax: 200, timeout: 3000,
  });
  const client = { name, socket, agent, acknowledged: [], heard: {} };
  socket.on('n', (from, number) => (client.heard[from] ??= []).push(number));
  // Events that this client reads in the turn in which its connection ends it keeps, and tells when it is back, ahead of the same
  // messages as the relay gives them once more.
  socket.io.on('reconnect_attempt', () => { socket.receiveBuffer = []; });
  let before = false;
  socket.on('connect', () => {
    count.back += before;
    count.recovered += socket.recovered;
    before = true;
  });
  socket.io.on('open', () => watch(socket.io.engine, !before));
  return client;
}

/** Interrupt most upgrades, at any of their steps, and the first for certain. */
function watch(engine, first = false) {
  const { transport } = engine;
  engine.on('upgrade', () => { count.upgraded += 1; });
  engine.on('upgrading', (next) => {
    const interrupt = () => {
      if (engine.transport !== transport || next.readyState !== 'open') return;
      count.interrupted += 1;
      next.ws.terminate();
    };
    if (first) interrupt();
    else if (Math.random() < 0.7) setTimeout(interrupt, Math.random() * 5);
  });
}

async function talk({ name, socket, acknowledged }) {
  for (let number = 0; talking; number++) {
    if (socket.connected) {
      count.sent += 1;
      socket.emit('n', name, number, ({ id }) => {
        if (id) acknowledged.push(number);
      });
    }
    await sleep(10 + Math.random() * 20);
  }
}

/** Break connections under any request on its way, or the whole engine, so that it comes back and upgrades anew. */
async function harm() {
  while (talking) {
    await sleep(60);
    const { agent, socket } = clients[Math.floor(Math.random() * NUMBER)];
    const open = Object.values(agent.sockets).flat();
    if (open.length && Math.random() < 0.6) {
      count.brokenOff += 1;
      open[0].destroy(new Error('broken off'));
    } else if (socket.connected) {
      socket.io.engine.close();
    }
  }
}

const missing = () => clients.flatMap((one) => clients.filter((other) => other !== one)
  .flatMap(({ name, heard }) => one.acknowledged.filter((number) => !heard[one.name]?.includes(number))
    .map((number) => `${one.name} ${number} for ${name}`)));

await Promise.all(clients.map(({ socket }) => socket.connected || new Promise((resolve) => socket.once('connect', resolve))));
const over = sleep(Number(seconds) * 1000).then(() => { talking = false; });
await Promise.all([...clients.map(talk), harm(), over]);
for (let tries = 0; missing().length && tries < 100; tries++) await sleep(100);
count.acknowledged = clients.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
const lists = clients.flatMap(({ heard }) => Object.values(heard));
count.repeated = lists.reduce((sum, list) => sum + list.length - new Set(list).size, 0);
count.disordered = lists.filter((list) => list.some((number, at) => at && number <= list[at - 1])).length;
count.lost = missing().length;
console.log(JSON.stringify({ ...count, missing: missing().slice(0, 5) }));
for (const { socket } of clients) socket.disconnect();
process.exit(0);
