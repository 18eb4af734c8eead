// A socket for RTCMultiConnection 3. The library talks to its own server with Socket.IO's interface (`emit` with a callback,
// `on`). This class offers the same over rooms of the relay: a session is a room, a user is a peer.

import { RelayError } from './errors.js';
import { escapeName, unescapeName } from './names.js';

const RMC_CHANNEL = 'rtcmulticonnection';

/** For `connection.setCustomSocketHandler`. The library calls it as a constructor for each connection. */
export function socketHandler(relay) {
  return function RelayConnection(connection, connected) {
    const socket = new Socket(relay, connection);
    connection.socket = socket;
    queueMicrotask(() => connected?.(socket));
  };
}

class Socket {
  #room = null;
  #listeners = new Map();

  constructor(relay, connection) {
    this.relay = relay;
    this.connection = connection;
    this.on(connection.socketMessageEvent, (message) => take(connection, message));
    this.on('user-disconnected', (userid) => connection.deletePeer(userid));
    this.on('extra-data-updated', (userid, extra) => update(connection, userid, extra));
    this.on('closed-entire-session', (sessionid, extra) => {
      connection.leave();
      connection.onEntireSessionClosed({ sessionid, userid: sessionid, extra });
    });
  }

  on(name, listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }

  emit(name, data, callback = () => {}) {
    const { connection } = this;
    switch (name) {
      case 'open-room':
        return this.#enter(data.sessionid, true, callback);
      case 'join-room':
        return this.#enter(data.sessionid, false, callback);
      case 'check-presence':
        return this.relay.presence(data).then(({ present }) => callback(present, data, {}), () => callback(false, data, {}));
      case connection.socketMessageEvent:
        return this.#signal(data, callback);
      case 'extra-data-updated':
        return this.#send({ event: name, values: [connection.userid, data] });
      case 'disconnect-with':
        this.#send({ event: 'user-disconnected', values: [connection.userid] }, data);
        return callback();
      case 'close-entire-session':
        this.#send({ event: 'closed-entire-session', values: [connection.sessionid, connection.extra] });
        return data?.();
      case 'get-remote-user-extra-data':
        return callback(connection.peersBackup[data]?.extra ?? {}, data);
      case 'changed-uuid':
        return callback();
      case 'set-password':
        return callback(false, data, 'rooms of this relay have no passwords');
      default:
        return this.#send({ event: name, values: [data] });
    }
  }

  disconnect() {
    this.#room?.leave();
    this.#room = null;
  }

  /** Open a session (only the first member may) or join one (the first member may not). */
  async #enter(name, opens, callback) {
    try {
      await this.#room?.leave();
      const room = this.relay.join(name, { peer: this.connection.userid });
      // Before awaiting, so that `disconnect` can leave a room that is not ready yet.
      this.#room = room;
      await room.ready;
      if (room.first !== opens) {
        this.disconnect();
        callback(false, 'Room not available');
        return;
      }
      this.#listen(room);
      callback(true);
    } catch (error) {
      callback(false, error instanceof RelayError ? error.text : String(error));
    }
  }

  #listen(room) {
    const { connection } = this;
    room.on('message', ({ channel, message }) => {
      if (channel === RMC_CHANNEL) this.#dispatch(message.event, ...message.values);
    });
    // The library knows users by the text of their ids.
    room.on('join', ({ peer }) => this.#status(unescapeName(peer), 'online'));
    room.on('leave', ({ peer }) => {
      const userid = unescapeName(peer);
      this.#status(userid, 'offline');
      this.#dispatch('user-disconnected', userid);
    });
    room.on('reconnecting', (event) => connection.onSocketDisconnect(event));
    room.on('error', (event) => connection.onSocketError(event));
  }

  #status(userid, status) {
    const extra = this.connection.peers[userid]?.extra ?? {};
    this.connection.onUserStatusChanged({ userid, status, extra });
  }

  /** Send a signal to one user; a request to take part goes to all users in the session. */
  #signal(data, callback) {
    const { socketMessageEvent: event, extra } = this.connection;
    const to = data.message?.newParticipationRequest ? undefined : data.remoteUserId;
    this.#send({ event, values: [{ ...data, extra }] }, to);
    callback();
  }

  #send(message, userid) {
    const to = userid === undefined ? undefined : escapeName(userid);
    // A peer that is gone causes `no_such_peer` here; the room's event `leave` handles it.
    this.#room?.send(message, { to, channel: RMC_CHANNEL, timeout: Infinity }).catch(() => {});
  }

  #dispatch(name, ...values) {
    for (const listener of this.#listeners.get(name) ?? []) listener(...values);
  }
}

function update(connection, userid, extra) {
  if (!connection.peers[userid]) return;
  connection.peers[userid].extra = extra;
  connection.peersBackup[userid] = { userid, extra };
  connection.onExtraDataUpdated({ userid, extra });
}

/** Handle a signal of another user, as the library's own socket does. */
function take(connection, signal) {
  const { sender, message, extra } = signal;
  const peers = connection.multiPeersHandler;
  if (extra && connection.peers[sender] && connection.peers[sender].extra !== extra) update(connection, sender, extra);
  if (message === 'dropPeerConnection') {
    connection.deletePeer(sender);
  } else if (message.streamSyncNeeded) {
    synchronise(connection, message);
  } else if (message.allParticipants) {
    for (const userid of new Set([...message.allParticipants, sender])) {
      peers[connection.peers[userid] ? 'renegotiatePeer' : 'createNewPeer'](userid, preferencesOf(connection));
    }
  } else if (message.newParticipant) {
    const { newParticipant: userid, userPreferences = preferencesOf(connection) } = message;
    if (userid !== connection.userid && !connection.peers[userid]) peers.createNewPeer(userid, userPreferences);
  } else if (message.readyForOffer && connection.waitingForLocalMedia && !connection.attachStreams.length) {
    // The camera is not ready: handle the request again when there is something to offer.
    setTimeout(() => take(connection, signal), 50);
  } else if (message.newParticipationRequest) {
    admit(connection, signal);
  } else if (message.userLeft) {
    peers.onUserLeft(sender);
    if (message.autoCloseEntireSession) connection.leave();
  } else {
    peers.addNegotiatedMessage(message, sender);
  }
}

/** Another user muted, stopped or ended a stream. */
function synchronise(connection, { streamid, action, type }) {
  const shown = connection.streamEvents[streamid];
  if (!shown?.stream) return;
  if (['ended', 'inactive', 'stream-removed'].includes(action)) connection.onstreamended(shown);
  else shown.stream[action]?.(type === 'both' ? null : type);
}

function admit(connection, signal) {
  const { sender, message, extra = {} } = signal;
  if (connection.peers[sender]) connection.deletePeer(sender);
  const own = preferencesOf(connection);
  connection.onNewParticipant(sender, {
    extra,
    localPeerSdpConstraints: message.remotePeerSdpConstraints ?? own.localPeerSdpConstraints,
    remotePeerSdpConstraints: message.localPeerSdpConstraints ?? own.remotePeerSdpConstraints,
    isOneWay: message.isOneWay ?? own.isOneWay,
    isDataOnly: message.isDataOnly ?? own.isDataOnly,
    dontGetRemoteStream: message.isOneWay ?? own.isOneWay,
    dontAttachLocalStream: Boolean(message.dontGetRemoteStream),
    connectionDescription: signal,
    successCallback() {},
  });
}

function preferencesOf({ session, direction, sdpConstraints: { mandatory } }) {
  const { OfferToReceiveAudio, OfferToReceiveVideo } = mandatory;
  const { oneway, audio, video, screen, data } = session;
  return {
    localPeerSdpConstraints: { OfferToReceiveAudio, OfferToReceiveVideo },
    remotePeerSdpConstraints: {
      OfferToReceiveAudio: oneway ? Boolean(audio) : OfferToReceiveAudio,
      OfferToReceiveVideo: oneway ? Boolean(video || screen) : OfferToReceiveVideo,
    },
    isOneWay: Boolean(oneway) || direction === 'one-way',
    isDataOnly: Boolean(data && !audio && !video && !screen),
  };
}
