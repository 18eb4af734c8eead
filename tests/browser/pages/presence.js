// The seed's "room presence detection": a page that is alone opens the session, any other page connects to it.
// The relay's welcome says which, in the same step that takes the place.
const channels = {};
const opened = [];
const roles = [];

function testChannelPresence(room, play) {
  const websocket = new WebSocket(`${window.RELAY}/rooms/${room}`);
  websocket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === 'welcome') play(event.first, websocket);
    if (event.channel) channels[event.channel]?.onmessage?.(event.message);
  };
}

// The page as its author has it.
function visit(room) {
  testChannelPresence(room, (first, websocket) => {
    const channel = new DataChannel();
    channel.openSignalingChannel = (config) => {
      const name = config.channel || 'main';
      channels[name] = config;
      if (config.onopen) setTimeout(config.onopen, 100);
      return { channel: name, send: (message) => websocket.send(JSON.stringify({ channel: name, message })) };
    };
    channel.onopen = (userid) => opened.push(userid);
    roles.push(first ? 'open' : 'connect');
    if (first) channel.open(room);
    else channel.connect(room);
  });
}

// Many rooms at once, to see who is first in each.
function rush(rooms) {
  return Promise.all(rooms.map((room) => new Promise((resolve) => testChannelPresence(room, resolve))));
}
