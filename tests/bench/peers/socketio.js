// Socket.IO with one of its two Redis adapters, as their documentation sets them up.
const { createServer } = require("node:http");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

async function main() {
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const create = process.argv[2] === "sharded" ? createShardedAdapter : createAdapter;
  const http = createServer();
  const io = new Server(http, { adapter: create(publisher, subscriber), transports: ["websocket"] });
  io.on("connection", (socket) => {
    const { room } = socket.handshake.query;
    socket.join(room);
    socket.on("message", (data) => socket.to(room).emit("message", data));
  });
  http.listen(Number(process.env.PORT), "127.0.0.1");
}

main();
