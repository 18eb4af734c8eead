// A second load generator, which shares no code with load.c: Node and the `ws` library instead of epoll and frames of
// our own. It takes the same options, and the commands `flood` and `steady` of load.c with the same meaning; its events
// are those of load.c. Two generators that agree on a ratio are a reason to trust it. See ../README.md.
const { createInterface } = require("node:readline");
const { createRequire } = require("node:module");
const path = require("node:path");
const { parseArgs } = require("node:util");

const { WebSocket } = createRequire(path.join(__dirname, "..", "peers", "package.json"))("ws");

const SETTLE = 3000; // ms
const MARK = /#(\d{19})#/g;

const text = { type: "string" };
const { tokens } = parseArgs({
  tokens: true,
  options: {
    port: text, rooms: text, members: text, size: text, first: text, connecting: text, path: text, publish: text,
    send: text, await: text, reply: text, echo: { type: "boolean" },
  },
});
const given = Object.fromEntries(tokens.map(({ name, value }) => [name, value ?? true]));
const number = (name) => Number(given[name] ?? 0);
const [rooms, members, first] = [number("rooms"), number("members"), number("first")];
const script = tokens.filter(({ name }) => name === "send" || name === "await");
const [question, answer] = (given.reply ?? "=").split(/=(.*)/s);
const heardBy = given.echo ? members : members - 1;

const clients = [];
let load = null;
let busyBefore = 0;

const now = () => process.hrtime.bigint();
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const busy = () => process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6;

function expand(template, client, mark) {
  const room = Math.floor(client / members);
  const next = room * members + (((client % members) + 1) % members);
  const filled = template
    .replaceAll("{room}", room + first)
    .replaceAll("{member}", client % members)
    .replaceAll("{client}", client + first * members)
    .replaceAll("{next}", next + first * members)
    .replaceAll("{verb}", client % members ? "join" : "open")
    .replaceAll("{mark}", `#${String(mark).padStart(19, "0")}#`);
  const missing = number("size") - (filled.length - "{pad}".length);
  return filled.replace("{pad}", "x".repeat(Math.max(missing, 0)));
}

function connect(client) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${number("port")}${expand(given.path, client, 0)}`, {
      perMessageDeflate: false,
    });
    let step = 0;
    const follow = () => {
      while (step < script.length && script[step].name === "send") socket.send(expand(script[step++].value, client, 0));
      if (step === script.length) resolve(socket);
    };
    socket.on("open", follow);
    socket.on("message", (data) => {
      const said = data.toString("latin1");
      if (said === question) socket.send(answer);
      if (step < script.length) {
        if (said.includes(script[step].value)) {
          step++;
          follow();
        }
      } else {
        for (const [, mark] of said.matchAll(MARK)) heard(Math.floor(client / members), BigInt(mark));
      }
    });
    socket.on("error", reject);
    socket.on("close", (code, reason) => reject(new Error(`closed: ${code} ${reason}`)));
  });
}

async function connectAll() {
  const began = now();
  const atOnce = Math.max(number("connecting"), 1);
  for (let client = 0; client < rooms * members; client += atOnce) {
    const some = Array.from({ length: Math.min(atOnce, rooms * members - client) }, (_, place) => client + place);
    clients.push(...(await Promise.all(some.map(connect))));
  }
  const seconds = Number(now() - began) / 1e9;
  const connections = clients.length;
  say({ event: "ready", connections, failed: 0, seconds, handshakes_per_second: connections / seconds, cpu: busy() });
}

class Load {
  constructor(kind, seconds, warmup, level) {
    this.kind = kind;
    this.began = now();
    this.measureFrom = this.began + BigInt(Math.round(warmup * 1e9));
    this.measureTo = this.measureFrom + BigInt(Math.round(seconds * 1e9));
    this.level = level;
    this.due = this.began;
    this.phase = "warming";
    this.rooms = Array.from({ length: rooms }, () => ({ sent: 0, received: 0, next: 0 }));
    this.turn = 0;
    this.messages = 0;
    this.latencies = [];
  }

  send(room, mark) {
    const state = this.rooms[room];
    const client = room * members + state.next;
    state.next = (state.next + 1) % members;
    state.sent++;
    this.messages++;
    clients[client].send(expand(given.publish, client, mark));
  }

  heard(room, mark) {
    if (mark < this.began) return;
    const state = this.rooms[room];
    state.received++;
    if (this.phase === "measuring") this.latencies.push(Number(now() - mark) / 1000);
    const sends = this.phase === "warming" || this.phase === "measuring";
    if (sends && this.kind === "flood" && state.received % heardBy === 0) this.send(room, now());
  }

  outstanding() {
    return this.rooms.reduce((sum, { sent, received }) => sum + sent * heardBy - received, 0);
  }

  advance() {
    const time = now();
    if (this.phase === "warming" && time >= this.measureFrom) {
      this.phase = "measuring";
      this.measureFrom = time;
      this.messages = 0;
      busyBefore = busy();
      say({ event: "begin" });
    }
    if (this.phase === "measuring" && time >= this.measureTo) {
      this.phase = "settling";
      this.report(time);
    }
    if (this.phase === "settling") {
      if (this.outstanding() > 0 && time < this.measureTo + BigInt(SETTLE) * 1_000_000n) return true;
      say({ event: "settled", lost: this.outstanding() });
      return false;
    }
    const step = BigInt(Math.round(1e9 / this.level));
    for (; this.kind === "steady" && this.due <= time; this.due += step) {
      this.turn = (this.turn + 1) % rooms;
      this.send(this.turn, this.due);
    }
    return true;
  }

  report(time) {
    const sorted = Float64Array.from(this.latencies).sort();
    const at = (share) => sorted[Math.floor(sorted.length * share)] ?? 0;
    say({
      event: "end", seconds: Number(time - this.measureFrom) / 1e9, messages: this.messages, deliveries: sorted.length,
      p50: at(0.5), p99: at(0.99), p999: at(0.999), cpu: busy() - busyBefore,
    });
  }
}

const heard = (room, mark) => load?.heard(room, mark);

// While there is something to measure it never sleeps, for the reason that load.c gives.
function run() {
  if (load.advance()) setImmediate(run);
  else load = null;
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [kind, seconds, warmup, level] = line.split(" ");
    if (kind !== "flood" && kind !== "steady") process.exit(2);
    load = new Load(kind, Number(seconds), Number(warmup), Number(level));
    for (let turn = 0; kind === "flood" && turn < load.level; turn++) {
      for (let room = 0; room < rooms; room++) load.send(room, now());
    }
    run();
  })
  .on("close", () => process.exit(0));

connectAll().catch((error) => {
  process.stderr.write(`load: ${error.message}\n`);
  process.exit(1);
});
