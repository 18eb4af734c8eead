// `ws` and ioredis: one subscription a room, members kept in a set.
const Redis = require("ioredis");
const { WebSocketServer } = require("ws");

const publisher = new Redis(process.env.REDIS_URL);
const subscriber = new Redis(process.env.REDIS_URL);
const rooms = new Map();
let last = 0;

function leave(name, socket) {
  const members = rooms.get(name);
  members.delete(socket);
  if (members.size === 0) {
    rooms.delete(name);
    subscriber.unsubscribe(name);
  }
}

subscriber.on("message", (name, data) => {
  const { from, text } = JSON.parse(data);
  for (const socket of rooms.get(name) ?? []) {
    if (socket.id !== from) socket.send(text);
  }
});

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env.PORT) });
server.on("connection", (socket, request) => {
  const name = request.url;
  socket.id = `${process.pid}-${++last}`;
  if (!rooms.has(name)) {
    rooms.set(name, new Set());
    subscriber.subscribe(name);
  }
  rooms.get(name).add(socket);
  socket.on("message", (data) => publisher.publish(name, JSON.stringify({ from: socket.id, text: data.toString() })));
  socket.on("close", () => leave(name, socket));
  socket.on("error", () => {});
});
