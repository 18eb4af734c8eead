// A page in TypeScript that uses relay.js; it is checked, not run.
import Default, { Relay, RelayError, type Room } from '../../../relay/pages/relay';

const relay: Relay = new Relay(['wss://one', 'wss://two'], { peer: 'me', pingInterval: 1000, storage: null });
const room: Room = relay.join('room', { presence: false, channels: ['a'], info: { name: 'me' } });

async function talk(): Promise<void> {
  const { id } = await room.send({ any: ['thing'] }, { to: ['peer'], channel: 7 });
  const text: string = id;
  for await (const event of room) {
    if (event.type === 'message') console.log(text, event);
  }
  const servers: RTCIceServer[] = await relay.iceServers();
  new RTCPeerConnection({ iceServers: servers });
  const { present, members } = await relay.presence('room');
  console.log(present, members?.[0]?.held, members?.[0]?.info?.name);
  await room.setInfo({ name: 'you', muted: true });
  await room.setInfo(null);
  console.log(room.infos.get('peer')?.name);
}

relay.observe('room', { messages: false, token: 't' }).on('count', ({ count }) => count + 1);
// @ts-expect-error An observer has no peer id.
relay.observe('room', { peer: 'me' });

const transport: 'websocket' | 'http' | '' = new Relay('wss://one', { transports: ['http'], probeInterval: 1000 }).join('r').transport;
console.log(transport);
// @ts-expect-error There is no such transport.
new Relay('wss://one', { transports: ['pigeon'] });

room.on('message', ({ from, message }) => console.log(from.length, message)).on('resumed', ({ replayed }) => replayed + 1);
room.on('error', ({ code, reason }) => console.log(code, reason === 'epoch'), { once: true });
room.on('change', ({ peer, info }) => console.log(peer.length, info?.name)).on('join', ({ info }) => info?.name);
room.on('ice', ({ iceServers }) => new RTCPeerConnection({ iceServers }).setConfiguration({ iceServers: room.iceServers }));
// @ts-expect-error An info is an object.
room.setInfo('text').catch(() => {});
// @ts-expect-error There is no such event.
room.on('nothing', () => {});
// @ts-expect-error The destination is a room's name.
relay.join(5);
// @ts-expect-error Rooms come from `join` alone.
new (Relay.Room)();

const fetched = new Relay('wss://one', { token: async () => (await fetch('/token')).text(), password: 'hall' });
fetched.join('room', { token: () => 't', password: 'side hall' }).on('rules', ({ rules, by }) => console.log(rules.locked, by));
// @ts-expect-error A function returns text.
fetched.join('room', { token: () => 5 });

async function moderate(): Promise<void> {
  const { max_members, owner } = await room.setRules({ max_members: 8, password: '' });
  console.log((max_members ?? 0) + 1, owner?.length, (await room.lock()).locked, (await room.rules()).history);
  const out: number = await room.kick('peer', { reason: 'rude', ban: 60 });
  console.log(out, await room.movePeers('other', ['peer']));
  await room.unlock();
  await room.closeRoom({ reason: 'late' });
  // @ts-expect-error There is no such rule.
  await room.setRules({ colour: 'red' });
}

moderate().catch(() => {});
room.on('kicked', ({ peer, reason }) => console.log(peer, reason)).on('closed', ({ reason }) => reason.length);
room.on('move', ({ to }) => relay.join(to)).on('close', ({ code, reason }) => console.log(code, reason));

const mesh = relay.mesh(room, { stream: null, iceTransportPolicy: 'relay' });
mesh.on('stream', ({ peer, stream }) => console.log(peer, stream.id));

const connection = { channel: 'c', openSignalingChannel: relay.openSignalingChannel };
connection.openSignalingChannel({ onmessage: (message) => console.log(message) }).send({});
talk().catch((error: unknown) => error instanceof RelayError && error.possiblySent);
console.log(Default === Relay);
