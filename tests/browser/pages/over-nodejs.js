// A demo in the manner of those for websocket-over-nodejs and socketio-over-nodejs. Its signaling is `openSocket`, with
// the contract of these servers: `callback` gets a socket, `send` takes data, and `onmessage` gets the data of others.
const SIGNALING_SERVER = window.RELAY;
const defaultChannel = location.href.replace(/\/|:|#|%|\.|\[|\]/g, '');
let me = Math.round(Math.random() * 999999999) + 999999999;
const opened = [];
const heard = [];
const left = [];
const strange = [];

const openSocket = {
  websocket(config) {
    const channel = config.channel || defaultChannel;
    const websocket = new WebSocket(SIGNALING_SERVER);
    websocket.onopen = () => {
      websocket.push(JSON.stringify({ open: true, channel }));
      config.callback(websocket);
    };
    websocket.push = websocket.send;
    websocket.send = (data) => websocket.push(JSON.stringify({ data, channel }));
    websocket.onmessage = (event) => config.onmessage(JSON.parse(event.data));
  },

  socketio(config) {
    const channel = config.channel || defaultChannel;
    const sender = Math.round(Math.random() * 999999999) + 999999999;
    io.connect(SIGNALING_SERVER).emit('new-channel', { channel, sender });
    const socket = io.connect(SIGNALING_SERVER + channel);
    socket.on('connect', () => config.callback(socket));
    socket.send = (data) => socket.emit('message', { sender, data });
    socket.on('message', config.onmessage);
    socket.on('user-left', (user) => left.push(user));
  },
}[window.io ? 'socketio' : 'websocket'];

// Ask until somebody is in the channel, over one connection.
let present = false;

function testChannelPresence(channel = defaultChannel) {
  return new Promise((resolve) => {
    const answered = (isPresent) => {
      present = isPresent;
      resolve(isPresent);
      if (!isPresent) setTimeout(ask, 500);
    };
    let ask;
    if (window.io) {
      const socket = io.connect(SIGNALING_SERVER);
      ask = () => socket.emit('presence', channel);
      socket.on('presence', answered);
      ask();
    } else {
      const websocket = new WebSocket(SIGNALING_SERVER);
      ask = () => websocket.send(JSON.stringify({ checkPresence: true, channel }));
      websocket.onopen = ask;
      websocket.onmessage = (event) => {
        const { isChannelPresent } = JSON.parse(event.data);
        if (isChannelPresent !== undefined) answered(isChannelPresent);
      };
    }
  });
}

// Every page announces itself until somebody is there. Of two, the one with the greater number offers; each pair talks
// on a channel of its own.
let hall;
const pairs = {};

function meet() {
  openSocket({
    onmessage: ({ sender, here, ready, type }) => {
      if (sender === me) strange.push('an echo');
      if (!sender && type !== 'welcome') strange.push(type);
      if (here > me && !pairs[here]) talk(here, false);
      if (ready === me && !pairs[sender]) talk(sender, true);
    },
    callback: (socket) => {
      hall = socket;
      const announce = () => {
        if (!opened.length) hall.send({ sender: me, here: me });
      };
      announce();
      setInterval(announce, 1000);
    },
  });
}

function talk(other, offers) {
  const connection = (pairs[other] = new RTCPeerConnection());
  const use = (channel) => {
    channel.onopen = () => opened.push(other);
    channel.onmessage = ({ data }) => heard.push(data);
    connection.send = (data) => channel.send(data);
  };
  connection.ondatachannel = ({ channel }) => use(channel);
  let socket;
  let work = Promise.resolve();
  const tell = () => socket.send({ sender: me, description: connection.localDescription });
  openSocket({
    channel: [me, other].sort((a, b) => a - b).join('-'),
    onmessage: ({ description }) => {
      if (description) work = work.then(() => take(connection, description, tell));
    },
    callback: async (ready) => {
      socket = ready;
      if (!offers) {
        hall.send({ sender: me, ready: other });
        return;
      }
      use(connection.createDataChannel('chat'));
      await describe(connection);
      const timer = setInterval(() => (opened.includes(other) ? clearInterval(timer) : tell()), 500);
    },
  });
}

async function take(connection, description, tell) {
  if (description.type === 'answer') {
    if (connection.signalingState === 'have-local-offer') await connection.setRemoteDescription(description);
    return;
  }
  if (!connection.remoteDescription) {
    await connection.setRemoteDescription(description);
    await describe(connection);
  }
  tell();
}

// Make the description with all candidates, so that it can be sent again.
async function describe(connection) {
  await connection.setLocalDescription();
  while (connection.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 50));
}
