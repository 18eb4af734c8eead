// A page that joins rooms under a fixed peer id as soon as it is loaded: reload.html?peer=ann&room=one&room=two
const query = new URLSearchParams(location.search);
const told = [];
let relay, rooms;

async function come() {
  const { Relay } = await import(`${window.RELAY[0].replace(/^ws/, 'http')}/relay.mjs`);
  // As behind a load balancer: any worker may answer.
  const urls = Math.random() < 0.5 ? window.RELAY : [...window.RELAY].reverse();
  relay = new Relay(urls);
  rooms = query.getAll('room').map((name) => relay.join(name, { peer: query.get('peer') }));
  for (const room of rooms) {
    for (const type of ['join', 'leave', 'open', 'reconnecting', 'resumed', 'error', 'close', 'message']) {
      room.on(type, (event) => told.push([type, event.peer ?? event.code ?? event.message ?? event.recovered ?? null]));
    }
  }
  await Promise.allSettled(rooms.map((room) => room.ready));
}

const outcome = come().then(() => rooms.map((room) => room.closed?.code ?? 'open'));
