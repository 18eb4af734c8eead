// Socket.IO with a Redis client, one of its two Redis adapters, and a WebSocket server: node socketio.js CLIENT ADAPTER SERVER.
// Compression is off, which is the default of Socket.IO and of both WebSocket servers.
const { createServer } = require("node:http");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const { Server } = require("socket.io");

const [client, adapter, server] = process.argv.slice(2);
const url = process.env.REDIS_URL;
const port = Number(process.env.PORT);

async function connections() {
  if (client === "ioredis") {
    const { Redis } = require("ioredis");
    return [new Redis(url), new Redis(url)];
  }
  const { createClient } = require("redis");
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return [publisher, subscriber];
}

function listen(io) {
  if (server === "uws") {
    const { App } = require("@trufflesuite/uws-js-unofficial");
    const app = App();
    io.attachApp(app);
    app.listen("127.0.0.1", port, () => {});
  } else {
    const http = createServer();
    io.attach(http);
    http.listen(port, "127.0.0.1");
  }
}

async function main() {
  const create = adapter === "sharded" ? createShardedAdapter : createAdapter;
  const io = new Server({ adapter: create(...(await connections())), transports: ["websocket"], perMessageDeflate: false });
  io.on("connection", (socket) => {
    const { room } = socket.handshake.query;
    socket.join(room);
    socket.on("message", (data) => socket.to(room).emit("message", data));
  });
  listen(io);
}

main();
