// A socket for RTCMultiConnection 3. The library talks to its own server with Socket.IO's interface (`emit` with a callback,
// `on`). This class offers the same over rooms of the relay: a session is a room, a user is a peer.
//
// Any member may send anything. A message counts as that of the user that the relay names as its sender, also if it names
// another one. It concerns that user alone. It reaches the library only in a form that the library itself would send.

import { RelayError } from './errors.js';
import { isObject } from './frames.js';
import { escapeName, unescapeName } from './names.js';

const RMC_CHANNEL = 'rtcmulticonnection';

// Events that come from the library's server. Here, they come from the relay, and no user can send them.
const OF_SERVER = new Set([
  'connect', 'connect_error', 'disconnect', 'error', 'logs', 'number-of-broadcast-viewers-updated', 'set-isInitiator-true',
  'user-connected', 'userid-already-taken',
]);
// Why a session cannot be entered, in the library's words (`connection.errors`).
const REFUSALS = {
  password_required: 'Invalid password',
  bad_password: 'Invalid password',
  room_locked: 'Room permission denied',
  banned: 'Room permission denied',
  not_granted: 'Room permission denied',
  not_owner: 'Room permission denied',
};
const MAX_VALUES = 16;
const CAMERA_POLL = 50;

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
  #earlier = new Set(); // users that were in the session before this one: one of them has opened it
  #waiting = new Map(); // user → timer of its request, which waits for the camera

  constructor(relay, connection) {
    this.relay = relay;
    this.connection = connection;
    this.on(connection.socketMessageEvent, (signal) => this.#take(signal));
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

  emit(name, data, callback = () => {}, ...more) {
    const { connection } = this;
    switch (name) {
      case 'open-room':
        return this.#enter(data, true, callback);
      case 'join-room':
        return this.#enter(data, false, callback);
      case 'check-presence':
        return this.relay.presence(data)
          .then((found) => found?.present === true, () => false)
          .then((present) => callback(present, data, {}));
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
        return callback(own(connection.peersBackup, data)?.extra ?? {}, data);
      case 'changed-uuid':
        return callback();
      case 'set-password':
        return this.#setPassword(data).then(
          () => callback(true, connection.sessionid, null),
          (error) => callback(false, connection.sessionid, wordsOf(error)),
        );
      case 'is-valid-password':
        // Called with a session as well. Only a join shows whether a password is right.
        return more[0]?.(false, callback, 'join the session to see whether the password is right');
      default:
        return this.#send({ event: name, values: [data] });
    }
  }

  disconnect() {
    this.#room?.leave();
    this.#room = null;
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
  }

  /** Open a session (only the first member may) or join one (the first member may not). */
  async #enter({ sessionid, password }, opens, callback) {
    let room;
    try {
      await this.#room?.leave();
      room = this.relay.join(sessionid, { peer: this.connection.userid, ...(password && { password: String(password) }) });
      // Before awaiting, so that `disconnect` can leave a room that is not ready yet.
      this.#room = room;
      await room.ready;
      if (room.first !== opens) {
        this.disconnect();
        callback(false, 'Room not available');
        return;
      }
      // A session without its password would be open to all: then there is none.
      if (opens && password) await this.#setPassword(password);
      this.#listen(room);
      callback(true);
    } catch (error) {
      if (room && room === this.#room) this.disconnect();
      callback(false, wordsOf(error));
    }
  }

  async #setPassword(password) {
    if (!this.#room) throw new RelayError('not_joined', 'Did not join any room yet');
    await this.#room.setRules({ password: String(password) });
  }

  #listen(room) {
    const { connection } = this;
    // The library knows users by the text of their ids.
    this.#earlier = new Set(room.members.filter((peer) => peer !== room.peer).map(unescapeName));
    room.on('message', ({ from, channel, message }) => {
      if (channel === RMC_CHANNEL) this.#receive(unescapeName(from), message);
    });
    room.on('join', ({ peer }) => this.#status(unescapeName(peer), 'online'));
    room.on('leave', ({ peer }) => {
      const userid = unescapeName(peer);
      this.#earlier.delete(userid);
      this.#status(userid, 'offline');
      if (mayBeUser(connection, userid)) this.#dispatch('user-disconnected', userid);
    });
    room.on('reconnecting', (event) => connection.onSocketDisconnect(event));
    room.on('error', (event) => connection.onSocketError(event));
    room.on('close', ({ code }) => {
      if (['kicked', 'room_closed'].includes(code)) this.#dispatch('closed-entire-session', connection.sessionid, {});
    });
  }

  #status(userid, status) {
    if (!mayBeUser(this.connection, userid)) return;
    const extra = own(this.connection.peers, userid)?.extra ?? {};
    guarded(() => this.connection.onUserStatusChanged({ userid, status, extra }));
  }

  /** A user sent an event; `userid` is the one that the relay names. */
  #receive(userid, sent) {
    if (!isObject(sent) || typeof sent.event !== 'string' || !Array.isArray(sent.values)) return;
    const { connection } = this;
    const { event: name, values } = sent;
    if (!mayBeUser(connection, userid) || values.length > MAX_VALUES || OF_SERVER.has(name)) return;
    switch (name) {
      case connection.socketMessageEvent: {
        const [signal] = values;
        if (!isObject(signal)) return;
        const { message, extra } = signal;
        this.#dispatch(name, { remoteUserId: connection.userid, sender: userid, message, ...(isObject(extra) && { extra }) });
        return;
      }
      case 'user-disconnected':
        this.#dispatch(name, userid);
        return;
      case 'extra-data-updated':
        if (isObject(values[1])) this.#dispatch(name, userid, values[1]);
        return;
      case 'closed-entire-session':
        if (this.#earlier.has(userid)) this.#dispatch(name, connection.sessionid, isObject(values[1]) ? values[1] : {});
        return;
      default:
        this.#dispatch(name, ...values);
    }
  }

  #take(signal) {
    const { connection } = this;
    const members = new Set((this.#room?.members ?? []).map(unescapeName));
    take(connection, signal, {
      // Users that a message names; the relay has not checked them.
      isUser: (userid) => userid !== connection.userid && members.has(userid) && mayBeUser(connection, userid),
      mayEnd: (userid) => this.#earlier.has(userid),
      later: () => {
        clearTimeout(this.#waiting.get(signal.sender));
        this.#waiting.set(signal.sender, setTimeout(() => guarded(() => this.#take(signal)), CAMERA_POLL));
      },
    });
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
    for (const listener of this.#listeners.get(name) ?? []) guarded(() => listener(...values));
  }
}

function wordsOf(error) {
  return REFUSALS[error.code] ?? error.text ?? String(error);
}

/** A property of an object's own, and not one that all objects have. */
function own(object, name) {
  return typeof name === 'string' && Object.hasOwn(object, name) && isObject(object[name]) ? object[name] : undefined;
}

/** The library's objects have users as properties. An id that is another property there belongs to no user. */
function mayBeUser({ peers }, userid) {
  return typeof userid === 'string' && !(userid in Object.prototype) && typeof peers[userid] !== 'function';
}

/** An error of the library on one message must not keep the code behind the call from running. */
function guarded(call) {
  try {
    call();
  } catch (error) {
    globalThis.reportError?.(error);
  }
}

function update(connection, userid, extra) {
  const peer = own(connection.peers, userid);
  if (!peer) return;
  peer.extra = extra;
  connection.peersBackup[userid] = { userid, extra };
  connection.onExtraDataUpdated({ userid, extra });
}

/** Handle a signal of another user, as the library's own socket does; `session` says what its sender may do. */
function take(connection, signal, session) {
  const { sender, message, extra } = signal;
  const peers = connection.multiPeersHandler;
  if (extra && own(connection.peers, sender)?.extra !== extra) update(connection, sender, extra);
  if (message === 'dropPeerConnection') {
    connection.deletePeer(sender);
  } else if (!isObject(message)) {
    return;
  } else if (message.streamSyncNeeded) {
    synchronise(connection, sender, message);
  } else if (message.allParticipants) {
    const named = Array.isArray(message.allParticipants) ? message.allParticipants.filter(session.isUser) : [];
    for (const userid of new Set([...named, sender])) {
      if (!own(connection.peers, userid)) peers.createNewPeer(userid, preferencesOf(connection));
      else if (userid === sender) peers.renegotiatePeer(userid, preferencesOf(connection));
    }
  } else if (message.newParticipant) {
    const { newParticipant: userid, userPreferences } = message;
    if (!session.isUser(userid) || own(connection.peers, userid)) return;
    peers.createNewPeer(userid, isObject(userPreferences) ? userPreferences : preferencesOf(connection));
  } else if (message.readyForOffer && connection.waitingForLocalMedia && !connection.attachStreams.length) {
    // The camera is not ready: handle the request again when there is something to offer.
    session.later();
  } else if (message.newParticipationRequest) {
    admit(connection, signal);
  } else if (message.userLeft) {
    peers.onUserLeft(sender);
    if (message.autoCloseEntireSession && session.mayEnd(sender)) connection.leave();
  } else if (negotiates(message)) {
    peers.addNegotiatedMessage(message, sender);
  }
}

/** Whether a message has a form that the library's `addNegotiatedMessage` reads. */
function negotiates({ type, sdp, candidate, enableMedia, readyForOffer, userPreferences }) {
  if (type !== undefined && sdp !== undefined) return ['offer', 'answer'].includes(type) && typeof sdp === 'string';
  if (candidate) return typeof candidate === 'string' || isObject(candidate);
  if (enableMedia) return isObject(userPreferences);
  return Boolean(readyForOffer) && (userPreferences === undefined || isObject(userPreferences));
}

/** Another user muted, stopped or ended a stream of its own. */
function synchronise(connection, sender, { streamid, action, type }) {
  const shown = own(connection.streamEvents, streamid);
  if (!shown?.stream || shown.userid !== sender) return;
  if (['ended', 'inactive', 'stream-removed'].includes(action)) connection.onstreamended(shown);
  else if (['mute', 'unmute'].includes(action)) shown.stream[action]?.(['audio', 'video'].includes(type) ? type : null);
}

function admit(connection, signal) {
  const { sender, message, extra = {} } = signal;
  if (own(connection.peers, sender)) connection.deletePeer(sender);
  const ours = preferencesOf(connection);
  const isOneWay = booleanOr(ours.isOneWay, message.isOneWay);
  connection.onNewParticipant(sender, {
    extra,
    localPeerSdpConstraints: constraintsOr(ours.localPeerSdpConstraints, message.remotePeerSdpConstraints),
    remotePeerSdpConstraints: constraintsOr(ours.remotePeerSdpConstraints, message.localPeerSdpConstraints),
    isOneWay,
    isDataOnly: booleanOr(ours.isDataOnly, message.isDataOnly),
    dontGetRemoteStream: isOneWay,
    dontAttachLocalStream: Boolean(message.dontGetRemoteStream),
    connectionDescription: signal,
    successCallback() {},
  });
}

function booleanOr(otherwise, value) {
  return typeof value === 'boolean' ? value : otherwise;
}

function constraintsOr(otherwise, value) {
  if (!isObject(value)) return otherwise;
  const { OfferToReceiveAudio, OfferToReceiveVideo } = value;
  return { OfferToReceiveAudio: Boolean(OfferToReceiveAudio), OfferToReceiveVideo: Boolean(OfferToReceiveVideo) };
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
