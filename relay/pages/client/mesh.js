// A video call in a room: a connection to each of the others, by perfect negotiation (W3C WebRTC 1.0, section 10.7).

import { randomText } from './ids.js';
import { RelayEvent } from './room.js';

const MESH_CHANNEL = 'relay.mesh';

/**
 * A video call in a room, made by `Relay.mesh`.
 *
 * Events are `stream` (a peer sends a track), `gone` (a peer left the call), `state` (of a peer connection) and `error` (a
 * peer sent something that makes no sense, or the browser refused it).
 *
 * **The offer.** A member that joins the call sends `hello` to all. Of two members, the one with the greater id makes the
 * first offer; the other answers a hello with its own, so that it gets that offer. Perfect negotiation would also work if
 * both offered at first, but Chromium 156 may find no route after one offer is rolled back. Later, either may offer; if
 * both do at once, the polite one, whose id is smaller, gives way.
 *
 * **Marks.** Each time a member joins, it draws a new mark. Messages between two members name both marks (`by`, `to`), so
 * that a late message for an earlier connection is not applied to the present one.
 */
export class Mesh extends EventTarget {
  #mark = randomText(9);
  #connections = new Map();
  #closed = new AbortController();

  constructor(room, { stream = null, ...configuration } = {}) {
    super();
    this.room = room;
    this.stream = stream;
    this.configuration = configuration;
    const until = { signal: this.#closed.signal };
    room.on('message', (event) => event.channel === MESH_CHANNEL && this.#receive(event.from, event.message), until);
    room.on('leave', ({ peer }) => this.#disconnect(peer), until);
    // Without recovery, the others saw this client leave: they need a new hello.
    room.on('resumed', ({ recovered }) => recovered || this.#rejoin(), until);
    // For connections that exist, too: a later restart of ICE needs credentials that are valid then.
    for (const name of ['ice', 'resumed']) room.on(name, () => this.#renewServers(), until);
    room.on('close', () => this.close(), until);
    room.ready.then(() => this.#send({ hello: this.#mark }), () => {});
  }

  /** The peer connections, by peer id. */
  get connections() {
    return new Map([...this.#connections].map(([peer, one]) => [peer, one.connection]));
  }

  on(name, listener, options) {
    this.addEventListener(name, listener, options);
    return this;
  }

  /** Send another stream, such as a screen; null for none. */
  replaceStream(stream) {
    this.stream = stream;
    for (const { connection } of this.#connections.values()) attach(connection, stream);
  }

  close() {
    if (this.#closed.signal.aborted) return;
    this.#send({ bye: this.#mark });
    this.#closed.abort();
    for (const peer of [...this.#connections.keys()]) this.#disconnect(peer);
  }

  /** The options of the page, and the relay's STUN and TURN servers, unless the page gave its own. */
  get #configuration() {
    return { iceServers: this.room.iceServers, ...this.configuration };
  }

  #renewServers() {
    for (const { connection } of this.#connections.values()) connection.setConfiguration?.(this.#configuration);
  }

  #rejoin() {
    this.#mark = randomText(9);
    this.#send({ hello: this.#mark });
  }

  #send(message, to) {
    if (this.#closed.signal.aborted) return;
    // A peer that is gone causes `no_such_peer` here; the room's event `leave` handles it.
    this.room.send(message, { to, channel: MESH_CHANNEL, timeout: Infinity }).catch(() => {});
  }

  #receive(peer, message) {
    if (peer === this.room.peer) return; // in a room that was joined with echo
    if (message?.bye) this.#disconnect(peer);
    if (typeof message?.hello === 'string') this.#greet(peer, message.hello);
    if (!message?.description && !message?.candidate) return;
    if (message.to === this.#mark && typeof message.by === 'string') this.#connectTo(peer, message.by).take(message);
  }

  #greet(peer, mark) {
    if (this.room.peer > peer) this.#connectTo(peer, mark);
    else this.#send({ hello: this.#mark }, peer);
  }

  /** The connection to a peer with this mark. One to the same peer with an earlier mark is closed. */
  #connectTo(peer, mark) {
    const present = this.#connections.get(peer);
    if (present?.by === this.#mark && present.to === mark) return present;
    this.#disconnect(peer);
    const polite = this.room.peer < peer;
    const between = { by: this.#mark, to: mark };
    const other = new Negotiation(new RTCPeerConnection(this.#configuration), polite, {
      ...between,
      send: (message) => this.#send({ ...between, ...message }, peer),
      fail: (error) => this.#dispatch('error', { peer, error }),
    });
    const { connection } = other;
    this.#connections.set(peer, other);
    connection.ontrack = ({ track, streams: [stream] }) => this.#dispatch('stream', { peer, stream, track, connection });
    connection.onconnectionstatechange = () => {
      this.#dispatch('state', { peer, state: connection.connectionState, connection });
    };
    attach(connection, this.stream);
    return other;
  }

  #disconnect(peer) {
    const other = this.#connections.get(peer);
    if (!other) return;
    this.#connections.delete(peer);
    other.close();
    this.#dispatch('gone', { peer });
  }

  #dispatch(name, details) {
    this.dispatchEvent(new RelayEvent(name, details));
  }
}

/** Applies the descriptions and candidates of one peer connection, one after the other. */
class Negotiation {
  #offering = false;
  #ignoring = false;
  #work = Promise.resolve();

  constructor(connection, polite, { by, to, send, fail }) {
    this.connection = connection;
    this.polite = polite;
    this.by = by;
    this.to = to;
    this.send = send;
    this.fail = fail;
    // With a data channel there is something to negotiate even if neither side has a camera.
    connection.createDataChannel('relay', { negotiated: true, id: 0 });
    connection.onicecandidate = ({ candidate }) => candidate && send({ candidate });
    connection.onnegotiationneeded = () => this.#offer();
    // Both sides see the failure; one restart is enough.
    connection.oniceconnectionstatechange = () => {
      if (connection.iceConnectionState === 'failed' && !polite) connection.restartIce();
    };
  }

  take(message) {
    this.#work = this.#work.then(() => this.#take(message)).catch((error) => this.#failed(error));
  }

  close() {
    this.connection.onicecandidate = this.connection.onnegotiationneeded = null;
    this.connection.close();
  }

  async #offer() {
    // The polite side never makes the first offer. The browser fires this event again after the first answer.
    if (this.polite && !this.connection.remoteDescription) return;
    try {
      this.#offering = true;
      await this.connection.setLocalDescription();
      this.send({ description: this.connection.localDescription });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#offering = false;
    }
  }

  #failed(error) {
    if (this.connection.signalingState !== 'closed') this.fail(error);
  }

  async #take({ description, candidate }) {
    const { connection } = this;
    if (connection.signalingState === 'closed') return;
    if (candidate) {
      await connection.addIceCandidate(candidate).catch((error) => {
        if (!this.#ignoring) throw error;
      });
      return;
    }
    const collision = description.type === 'offer' && (this.#offering || connection.signalingState !== 'stable');
    this.#ignoring = !this.polite && collision;
    if (this.#ignoring) return;
    await connection.setRemoteDescription(description);
    if (description.type !== 'offer') return;
    await connection.setLocalDescription();
    this.send({ description: connection.localDescription });
  }
}

/** Make a connection send these tracks and no others. */
function attach(connection, stream) {
  const tracks = stream?.getTracks() ?? [];
  for (const sender of connection.getSenders()) {
    const track = tracks.find((one) => one.kind === sender.track?.kind);
    if (track) sender.replaceTrack(track);
    else if (sender.track) connection.removeTrack(sender);
  }
  for (const track of tracks) {
    const attached = connection.getSenders().some((sender) => sender.track?.kind === track.kind);
    if (!attached) connection.addTrack(track, stream);
  }
}
