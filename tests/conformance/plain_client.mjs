// The plain client that pages have: one socket, many channels, every envelope filtered by the client itself.
// Run as: node plain_client.mjs URL SENDER PEER-TO-WAIT-FOR. Prints a JSON line for each message of a channel.
import WebSocket from 'ws';

const [url, me, other] = process.argv.slice(2);
const channels = {};
const websocket = new WebSocket(url);

websocket.onmessage = (event) => {
  const data = JSON.parse(event.data);
  if (data.sender == me) return;
  if (channels[data.channel] && channels[data.channel].onmessage) channels[data.channel].onmessage(data.message);
};

function openSignalingChannel(config) {
  const channel = config.channel || 'main-channel';
  channels[channel] = config;
  if (config.onopen) setTimeout(config.onopen, 100);
  return {
    channel,
    send: (message) => websocket.send(JSON.stringify({ sender: me, channel, message })),
  };
}

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

websocket.onopen = () => {
  const main = openSignalingChannel({
    onopen: () => say({ open: 'main-channel' }),
    onmessage: (message) => say({ channel: 'main-channel', message }),
  });
  const own = openSignalingChannel({
    channel: `to-${me}`,
    onopen: () => say({ open: `to-${me}` }),
    onmessage: (message) => say({ channel: `to-${me}`, message }),
  });
  const theirs = openSignalingChannel({ channel: `to-${other}`, onmessage: () => say({ wrong: 'not for this client' }) });
  process.stdin.on('data', (text) => {
    for (const line of String(text).trim().split('\n')) {
      const { on, message } = JSON.parse(line);
      ({ main, own, theirs })[on].send(message);
    }
  });
};
websocket.onerror = (error) => say({ error: String(error.message) });
websocket.onclose = (event) => { say({ closed: event.code }); process.exit(0); };
process.stdin.on('end', () => websocket.close());
