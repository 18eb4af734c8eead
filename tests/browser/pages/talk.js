// A member that talks: it says numbers, and keeps the numbers that it heard, the acknowledgements, and the events.
const heard = {};
const told = [];
const acknowledged = [];
const failed = [];
let said = 0;
let relay, room, mesh, talking;

async function come(name, peer) {
  const { Relay } = await import(`${window.RELAY[0].replace(/^ws/, 'http')}/relay.mjs`);
  relay = new Relay(window.RELAY, { pingInterval: 1000, pingTimeout: 1000 });
  room = relay.join(name, { peer });
  for (const type of ['join', 'leave', 'open', 'reconnecting', 'resumed', 'error', 'close']) {
    room.on(type, (event) => told.push([type, event.peer ?? event.code ?? event.recovered ?? null]));
  }
  room.on('message', ({ from, channel, message }) => {
    if (channel === 'count') (heard[from] ??= []).push(message);
  });
  await room.ready;
}

function talk(interval = 30) {
  talking = setInterval(() => {
    const number = said++;
    room.send(number, { channel: 'count' }).then(() => acknowledged.push(number), ({ code }) => failed.push(code));
  }, interval);
}

function hush() {
  clearInterval(talking);
  return said;
}

async function call() {
  mesh = relay.mesh(room, { stream: await navigator.mediaDevices.getUserMedia({ audio: true, video: true }) });
  mesh.on('stream', ({ peer, stream }) => {
    const video = document.getElementById(peer) ?? document.createElement('video');
    Object.assign(video, { id: peer, muted: true, autoplay: true, srcObject: stream });
    document.getElementById('videos').append(video);
  });
  mesh.on('gone', ({ peer }) => document.getElementById(peer)?.remove());
}

function frames(peer) {
  return document.getElementById(peer)?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
}
