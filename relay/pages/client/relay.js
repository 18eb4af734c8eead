// The entry point: `new Relay(url).join(room)`.

import { Channels } from './channels.js';
import { Connection, DEFAULTS } from './connection.js';
import { RelayError } from './errors.js';
import { randomText } from './ids.js';
import { StoredKeys } from './keys.js';
import { Membership } from './membership.js';
import { Mesh } from './mesh.js';
import { escapeName, unescapeName } from './names.js';
import { socketHandler } from './rtcmulticonnection.js';
import { RelayEvent, Room } from './room.js';
import { Token } from './token.js';
import { Transports } from './transports.js';

const SCHEMES = { 'http:': 'ws:', 'https:': 'wss:' };
// Names that no URL can carry, even escaped: the browser would request another path.
const NO_ROOM = /^\.{1,2}$|\p{Surrogate}/u;
const NO_TEXT = /\p{Surrogate}/u;

/** The relay's client. relay.d.ts documents each method. */
export class Relay {
  // For pages that load the plain script, which defines `Relay` only.
  static Room = Room;
  static Mesh = Mesh;
  static RelayError = RelayError;
  static RelayEvent = RelayEvent;
  static escape = escapeName;
  static unescape = unescapeName;

  #options;
  #addresses;
  #connections = [];
  #rooms = new Map(); // room → the peer id that was asked for; the relay may give another one
  #channels;
  #keys;
  #randomPeer;

  constructor(url = globalThis.location?.origin, { storage, transports, ...options } = {}) {
    // The next page will have another random peer id: no key is stored for one.
    this.#randomPeer = randomText(12);
    this.#options = { ...DEFAULTS, token: '', ...options, peer: options.peer ?? this.#randomPeer };
    this.#options.transports = new Transports(transports);
    this.#addresses = [url].flat().map(addressOf);
    this.#keys = new StoredKeys(storage);
    this.#channels = new Channels((channels) => this.#signaling(channels));
    const channelsOf = this.#channels;
    // A plain function, because libraries call it as a method: `this.channel` is the library's channel.
    this.openSignalingChannel = function openSignalingChannel(config) {
      return channelsOf.open(config, String(config.channel || this?.channel || 'main-channel'));
    };
    this.openSocket = (config) => channelsOf.open(config, String(config.channel || 'main-channel'));
    this.socketHandler = socketHandler(this);
  }

  join(name, { peer = this.#options.peer, token = this.#options.token, ...options } = {}) {
    checkRoom(name);
    checkPeer(peer);
    if ([...this.#rooms].some(([room, asked]) => room.name === name && asked === peer)) {
      throw new RelayError('already_joined', `this client is in ${name} as ${peer} already`);
    }
    const membership = new Membership(name, { ...this.#options, ...options });
    if (peer !== this.#randomPeer) membership.slot = JSON.stringify([this.#urls.sort(), name, peer]);
    return this.#join(this.#connectionOf(peer, token), membership, peer);
  }

  observe(name, { presence = true, messages = true, channels = null, token = this.#options.token } = {}) {
    checkRoom(name);
    if (!presence && !messages) throw new RelayError('bad_query', 'presence, messages or both can be observed');
    const observe = presence && messages ? 'all' : presence ? 'presence' : 'messages';
    // A connection of its own: one that observes a room can join none.
    const connection = new Connection({ ...this.#options, urls: this.#urls, peer: '', token });
    return this.#join(connection, new Membership(name, { ...this.#options, channels, observe }), '');
  }

  async presence(name) {
    checkRoom(name);
    let failure;
    for (const { base } of this.#addresses) {
      try {
        return await this.#describe(`${base.replace(/^ws/, 'http')}/rooms/${encodeURIComponent(name)}`);
      } catch (error) {
        if (error instanceof RelayError) throw error;
        failure = error;
      }
    }
    throw new RelayError('unreachable', failure.message);
  }

  /** Ask about a room, with the token only if the relay wants one: browsers ask beforehand whether they may send it. */
  async #describe(url, headers) {
    const answer = await fetch(url, { headers });
    const body = await answer.json();
    if (answer.ok) return body;
    const { code, text } = body.error;
    if (code !== 'token_required' || headers) throw new RelayError(code, text);
    const token = await new Token(this.#options.token).ask(this.#options.connectTimeout);
    if (!token) throw new RelayError(code, text);
    return this.#describe(url, { Authorization: `Bearer ${token}` });
  }

  async iceServers() {
    const joined = this.rooms.filter((room) => room.peer); // an observer has no peer id
    if (!joined.length) throw new RelayError('not_joined', 'join a room first: only members get the servers');
    const room = await Promise.any(joined.map((one) => one.ready));
    return room.iceServers;
  }

  mesh(room, options) {
    return new Mesh(typeof room === 'string' ? this.join(room) : room, options);
  }

  get #urls() {
    return this.#addresses.map((address) => address.base);
  }

  get rooms() {
    return [...this.#rooms.keys()];
  }

  drop() {
    for (const room of this.rooms) room.drop();
  }

  async close() {
    await Promise.all(this.rooms.map((room) => room.leave()));
  }

  #join(connection, membership, peer) {
    const room = new Room(connection, membership);
    membership.peer = escapeName(peer);
    this.#rooms.set(room, peer);
    room.on('close', () => this.#rooms.delete(room));
    connection.enter(membership);
    return room;
  }

  /** Rooms that are joined as the same peer, with the same token or function, share a connection. */
  #connectionOf(peer, token) {
    this.#connections = this.#connections.filter((one) => !one.empty);
    const existing = this.#connections.find((one) => one.peer === peer && one.token.given === token);
    if (existing) return existing;
    const anyPeer = peer === this.#randomPeer;
    const connection = new Connection({ ...this.#options, urls: this.#urls, peer, anyPeer, token, keys: this.#keys });
    this.#connections.push(connection);
    return connection;
  }

  /** The room of the channels has its own connection: if it is the default room, only the relay knows its name. */
  #signaling(channels) {
    const options = { ...this.#options, urls: this.#urls };
    const connection = new Connection({ ...options, peer: randomText(12), anyPeer: true });
    const membership = new Membership(this.#addresses[0].room, { ...options, presence: false, channels });
    const room = this.#join(connection, membership, connection.peer);
    const listen = async (channel) => {
      if (!membership.channels || membership.channels.has(channel)) return;
      membership.channels.add(channel);
      // If the connection breaks meanwhile, the channel is in the address of the next one.
      const answer = await connection.request(membership, { type: 'subscribe', channels: [channel] });
      if (!answer && !membership.closed && !membership.joined) {
        await new Promise((resolve) => room.on('resumed', resolve, { once: true }));
      }
    };
    return { room, listen };
  }
}

function checkRoom(name) {
  if (NO_ROOM.test(name)) throw new RelayError('bad_room', 'no URL can carry this name');
}

function checkPeer(peer) {
  if (typeof peer !== 'string' || !peer || NO_TEXT.test(peer)) throw new RelayError('bad_peer', 'a peer id is text');
}

/** Split an address into the relay's base address and a room, null for the default room. */
function addressOf(text) {
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
