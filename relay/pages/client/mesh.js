// A video call in a room: a connection to each of the others, by perfect negotiation (W3C WebRTC 1.0, section 10.7).

import { randomText } from './ids.js';
import { RelayEvent } from './room.js';

const MESH_CHANNEL = 'relay.mesh';

/**
 * See `Relay.mesh`. Events are `stream` (somebody is seen or heard), `gone` (and is no more), `state` (of a connection),
 * `error` (what a peer said makes no sense, or the browser would not do it).
 *
 * Who comes says hello. Of two, the one whose id is greater offers, and the other, should it be in the call already, says
 * hello to that one: browsers that both offer at first and take one offer back may find no way to each other (Chromium
 * 156). Later on either may offer; of two who do so at once the polite one gives way, whose id is smaller.
 *
 * Each coming has a mark of its own, and what is said between two names both: what was meant for an earlier connection,
 * and is heard late, is not taken for the present one.
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
    room.on('message', (event) => event.channel === MESH_CHANNEL && this.#hear(event.from, event.message), until);
    room.on('leave', ({ peer }) => this.#part(peer), until);
    // Who lost its place has left, for the others: they must be told that it is back.
    room.on('resumed', ({ recovered }) => recovered || this.#comeAgain(), until);
    room.on('close', () => this.close(), until);
    room.ready.then(() => this.#say({ hello: this.#mark }), () => {});
  }

  /** The connections there are, by peer id. */
  get connections() {
    return new Map([...this.#connections].map(([peer, one]) => [peer, one.connection]));
  }

  on(name, listener, options) {
    this.addEventListener(name, listener, options);
    return this;
  }

  /** Show the others something else: a screen, or another camera; null for nothing. */
  replaceStream(stream) {
    this.stream = stream;
    for (const { connection } of this.#connections.values()) attach(connection, stream);
  }

  close() {
    if (this.#closed.signal.aborted) return;
    this.#say({ bye: this.#mark });
    this.#closed.abort();
    for (const peer of [...this.#connections.keys()]) this.#part(peer);
  }

  #comeAgain() {
    this.#mark = randomText(9);
    this.#say({ hello: this.#mark });
  }

  #say(message, to) {
    if (this.#closed.signal.aborted) return;
    // Whoever is gone is told of by the room, not by an error.
    this.room.send(message, { to, channel: MESH_CHANNEL, timeout: Infinity }).catch(() => {});
  }

  #hear(peer, message) {
    if (peer === this.room.peer) return; // of a room that echoes
    if (message?.bye) this.#part(peer);
    if (typeof message?.hello === 'string') this.#greet(peer, message.hello);
    if (!message?.description && !message?.candidate) return;
    if (message.to === this.#mark) this.#meet(peer, String(message.by)).take(message);
  }

  #greet(peer, mark) {
    if (this.room.peer > peer) this.#meet(peer, mark);
    else this.#say({ hello: this.#mark }, peer);
  }

  /** The connection to a peer as it came last; one to the same peer as it came before is of no use any more. */
  #meet(peer, mark) {
    const present = this.#connections.get(peer);
    if (present?.by === this.#mark && present.to === mark) return present;
    this.#part(peer);
    const polite = this.room.peer < peer;
    const configuration = { iceServers: this.room.iceServers, ...this.configuration };
    const between = { by: this.#mark, to: mark };
    const other = new Negotiation(new RTCPeerConnection(configuration), polite, {
      ...between,
      say: (message) => this.#say({ ...between, ...message }, peer),
      fail: (error) => this.#tell('error', { peer, error }),
    });
    const { connection } = other;
    this.#connections.set(peer, other);
    connection.ontrack = ({ track, streams: [stream] }) => this.#tell('stream', { peer, stream, track, connection });
    connection.onconnectionstatechange = () => {
      this.#tell('state', { peer, state: connection.connectionState, connection });
    };
    attach(connection, this.stream);
    return other;
  }

  #part(peer) {
    const other = this.#connections.get(peer);
    if (!other) return;
    this.#connections.delete(peer);
    other.close();
    this.#tell('gone', { peer });
  }

  #tell(name, details) {
    this.dispatchEvent(new RelayEvent(name, details));
  }
}

/** One connection's descriptions and candidates, taken one after the other. */
class Negotiation {
  #offering = false;
  #ignoring = false;
  #work = Promise.resolve();

  constructor(connection, polite, { by, to, say, fail }) {
    this.connection = connection;
    this.polite = polite;
    this.by = by;
    this.to = to;
    this.say = say;
    this.fail = fail;
    // So that there is something to negotiate also where nobody has a camera.
    connection.createDataChannel('relay', { negotiated: true, id: 0 });
    connection.onicecandidate = ({ candidate }) => candidate && say({ candidate });
    connection.onnegotiationneeded = () => this.#offer();
    // Both find out, and one of them is enough.
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
    // Called again after the first answer, if there is more to negotiate.
    if (this.polite && !this.connection.remoteDescription) return;
    try {
      this.#offering = true;
      await this.connection.setLocalDescription();
      this.say({ description: this.connection.localDescription });
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
    this.say({ description: connection.localDescription });
  }
}

/** Let a connection carry these tracks and no others. */
function attach(connection, stream) {
  const tracks = stream?.getTracks() ?? [];
  for (const sender of connection.getSenders()) {
    const track = tracks.find((one) => one.kind === sender.track?.kind);
    if (track) sender.replaceTrack(track);
    else if (sender.track) connection.removeTrack(sender);
  }
  for (const track of tracks) {
    const there = connection.getSenders().some((sender) => sender.track?.kind === track.kind);
    if (!there) connection.addTrack(track, stream);
  }
}
