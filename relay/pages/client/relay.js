// Where it begins: `new Relay(url).join(room)`.

import { Channels } from './channels.js';
import { RelayError } from './errors.js';
import { randomText } from './ids.js';
import { DEFAULTS, Link } from './link.js';
import { Mesh } from './mesh.js';
import { socketHandler } from './rtcmulticonnection.js';
import { RelayEvent, Room } from './room.js';
import { Seat } from './seat.js';

const SCHEMES = { 'http:': 'ws:', 'https:': 'wss:' };
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]*$/;
// What no address can carry, however it is written: the browser would ask for another room, or for none.
const NO_ROOM = /^\.{1,2}$|\p{Surrogate}/u;

/** See relay.d.ts for all of it. */
export class Relay {
  // For those who have nothing but the script.
  static Room = Room;
  static Mesh = Mesh;
  static RelayError = RelayError;
  static RelayEvent = RelayEvent;

  #options;
  #places;
  #links = new Map();
  #rooms = new Set();
  #channels;

  constructor(url = globalThis.location?.origin, options = {}) {
    this.#options = { ...DEFAULTS, peer: randomText(12), token: '', ...options };
    this.#places = [url].flat().map(placeOf);
    this.#channels = new Channels((channels) => this.#signaling(channels));
    const channelsOf = this.#channels;
    // Methods of the libraries' objects: the channel may be theirs.
    this.openSignalingChannel = function openSignalingChannel(config) {
      return channelsOf.open(config, String(config.channel || this?.channel || 'main-channel'));
    };
    this.openSocket = (config) => channelsOf.open(config, String(config.channel || 'main-channel'));
    this.socketHandler = socketHandler(this);
  }

  join(name, { peer = this.#options.peer, token = this.#options.token, ...options } = {}) {
    checkRoom(name);
    if ([...this.#rooms].some((room) => room.name === name && room.peer === peer)) {
      throw new RelayError('already_joined', `this client is in ${name} as ${peer} already`);
    }
    return this.#enter(this.#linkOf(peer, token), new Seat(name, { ...this.#options, ...options }), peer);
  }

  async presence(name) {
    checkRoom(name);
    let failure;
    for (const { base } of this.#places) {
      try {
        const answer = await fetch(`${base.replace(/^ws/, 'http')}/rooms/${encodeURIComponent(name)}`);
        const body = await answer.json();
        if (answer.ok) return body;
        throw new RelayError(body.error.code, body.error.text);
      } catch (error) {
        if (error instanceof RelayError) throw error;
        failure = error;
      }
    }
    throw new RelayError('unreachable', failure.message);
  }

  async iceServers() {
    if (!this.#rooms.size) throw new RelayError('not_joined', 'the servers are told to those who have joined a room');
    const room = await Promise.any([...this.#rooms].map((one) => one.ready));
    return room.iceServers;
  }

  mesh(room, options) {
    return new Mesh(typeof room === 'string' ? this.join(room) : room, options);
  }

  get rooms() {
    return [...this.#rooms];
  }

  drop() {
    for (const room of this.rooms) room.drop();
  }

  async close() {
    await Promise.all(this.rooms.map((room) => room.leave()));
  }

  #enter(link, seat, peer) {
    const room = new Room(link, seat);
    seat.peer = peer;
    this.#rooms.add(room);
    room.on('close', () => this.#rooms.delete(room));
    link.enter(seat);
    return room;
  }

  /** Rooms that are entered as the same peer share a connection. */
  #linkOf(peer, token) {
    if (typeof peer !== 'string' || !peer) throw new RelayError('bad_peer', 'a peer id is text');
    if (!TOKEN.test(token)) throw new RelayError('bad_token', 'a token has no spaces, commas, slashes or quotes');
    const name = `${peer} ${token}`;
    const there = this.#links.get(name);
    if (there && !there.empty) return there;
    const link = new Link({ ...this.#options, urls: this.#places.map((place) => place.base), peer, token });
    this.#links.set(name, link);
    return link;
  }

  /** The room of the channels has a connection of its own: its name may be known to the relay alone. */
  #signaling(channels) {
    const options = { ...this.#options, urls: this.#places.map((place) => place.base) };
    const link = new Link({ ...options, peer: randomText(12) });
    const seat = new Seat(this.#places[0].room, { ...options, presence: false, channels });
    const room = this.#enter(link, seat, link.peer);
    const listen = async (channel) => {
      if (!seat.channels || seat.channels.has(channel)) return;
      seat.channels.add(channel);
      // Lost on its way: then it stands in the next connection's address.
      const told = await link.ask(seat, { type: 'subscribe', channels: [channel] });
      if (!told && !seat.over && !seat.inside) await new Promise((resolve) => room.on('resumed', resolve, { once: true }));
    };
    return { room, listen };
  }
}

function checkRoom(name) {
  if (NO_ROOM.test(name)) throw new RelayError('bad_room', 'no address can carry this name');
}

/** An address: where the relay is, and the room in it, null for its default room. */
function placeOf(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new RelayError('bad_url', `${text} is not an address that begins with ws:// or wss://`);
  }
  const scheme = SCHEMES[url.protocol] ?? url.protocol;
  if (!['ws:', 'wss:'].includes(scheme) || url.search || url.hash) {
    throw new RelayError('bad_url', `${text} is not an address that begins with ws:// or wss://, and has no query`);
  }
  const [, path, room] = /^(.*?)(?:\/rooms\/([^/]+))?\/*$/.exec(url.pathname);
  return { base: `${scheme}//${url.host}${path}`, room: room ? decodeURIComponent(room) : null };
}
