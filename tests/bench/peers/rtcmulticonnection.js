// The signaling server of RTCMultiConnection 3 as its package exports it, on Socket.IO.
const { Server } = require("socket.io");
const { addSocket } = require("rtcmulticonnection-server");

new Server(Number(process.env.PORT)).on("connection", (socket) => addSocket(socket, { enableAdmin: false }));
