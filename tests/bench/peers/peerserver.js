// PeerServer, the server of PeerJS. The load sends no heartbeats, and its crowd is above the default limit.
const { PeerServer } = require("peer");

const options = { path: "/", concurrent_limit: 20_000, alive_timeout: 600_000 };
PeerServer({ ...options, host: "127.0.0.1", port: Number(process.env.PORT) });
