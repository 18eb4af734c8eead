// Types of relay.js. Use `import { Relay } from "/relay.mjs"`, or `<script src="/relay.js">`, which defines `Relay`.
// Codes and reasons are those of the relay's protocol. Times are in milliseconds.

/** The id of an event in a room: `epoch-sequence`. */
export type MessageId = string;

/**
 * A token that your application's server has signed, or a function that returns one; '' for none. The function is asked ahead
 * of each connection, and when the token is about to expire. If it fails, it is asked again later. With a text, the rooms end
 * with `token_expired` when it expires.
 */
export type Token = string | (() => string | Promise<string>);

/** How frames get to the relay and back. */
export type Transport = 'websocket' | 'http';

export interface Options {
  /** The peer id in rooms, as text; random without it. A page that is reloaded keeps an id that it gives here, or in `join`. */
  peer?: string;
  /**
   * Where the resume keys of such peer ids are, for the next page of the tab (`sessionStorage`); null for nowhere. A storage
   * that cannot be used does no harm.
   */
  storage?: Storage | null;
  /** Says who this client is, if the relay asks for it. It is sent as an offered subprotocol or in a body, never in an address. */
  token?: Token;
  /** The password of rooms that are joined without one of their own. */
  password?: string;
  /** How many envelopes of one room may wait for their acknowledgement (1,000); more fail with `queue_full`. */
  outgoing?: number;
  /** How many of these are on their way at a time (32). */
  window?: number;
  /** The time from opening a connection to the relay's welcome, and for the function that returns the token (10,000). */
  connectTimeout?: number;
  /** Without any frame for this time, the client sends a ping (10,000). */
  pingInterval?: number;
  /** Without an answer to a ping for this time, the client reconnects (5,000). */
  pingTimeout?: number;
  /** `leave` waits this long for the last acknowledgements, and as long for its answer (2,000). */
  closeTimeout?: number;
  /**
   * The ways to the relay that may be used (both): a WebSocket, and HTTP if the network lets no WebSocket through. A WebSocket
   * is always preferred.
   */
  transports?: Transport[];
  /** Over HTTP, the time from one try of a WebSocket to the next (5,000); it doubles with each, up to a minute. */
  probeInterval?: number;
  /** The source of jitter: returns a number from 0 to 1. */
  random?: () => number;
  /** A WebSocket class for environments without one: Node before 22 needs that of the package `ws`. */
  WebSocket?: unknown;
}

export interface JoinOptions {
  /** A peer id for this room, as text. Rooms with different peer ids have different connections. */
  peer?: string;
  /** A token for this room. Rooms with different tokens, or functions, have different connections. */
  token?: Token;
  /** The password of the room, if it has one; never in an address. */
  password?: string;
  /** Maintain `members`, and report joins and leaves (true). Turn it off for rooms of thousands. */
  presence?: boolean;
  /** Receive this client's own messages (false). */
  echo?: boolean;
  /** Receive messages of these channels only. */
  channels?: string[];
  /** The member info that the other members see, such as a name: an object of at most 1,024 bytes as JSON. */
  info?: Info;
}

/** The member info of a member; see `JoinOptions.info`. */
export type Info = Record<string, any>;

export interface ObserveOptions {
  /** Report joins and leaves (true). Without the relay's admin token: only how many members there are. */
  presence?: boolean;
  /** Receive messages, also those to some members only (true). This needs the admin token. */
  messages?: boolean;
  /** Receive messages of these channels only. */
  channels?: string[];
  /** The relay's admin token, or a token that grants `observe`. */
  token?: Token;
}

export interface SendOptions {
  /** Only these peers get it. If one of them is not in the room, no member gets it (`no_such_peer`). */
  to?: string | string[];
  channel?: string | number;
  /** The field `sender` of the envelope, for clients that read it. The relay vouches for `from` only. */
  sender?: string | number;
  /** A key of your choice: the relay delivers it once, even if the page was reloaded and sends it again. */
  key?: string;
  /** How long to wait for the acknowledgement (30,000); `Infinity` for no limit. */
  timeout?: number;
}

export interface Receipt {
  id: MessageId;
  key: string;
}

/** A member sent a message. */
export interface MessageEvent extends RelayEvent {
  readonly id: MessageId;
  /** The sender's peer id; the relay vouches for it. */
  readonly from: string;
  readonly message: any;
  readonly channel?: string | number;
  readonly sender?: string | number;
  readonly to?: string | string[];
  /** The whole envelope. */
  readonly envelope: Record<string, any>;
}

export interface PresenceEvent extends RelayEvent {
  readonly peer: string;
  /** For `join`: the member's info, if it has one. */
  readonly info?: Info;
}

/** A member has another info, or none any more (undefined). */
export interface ChangeEvent extends RelayEvent {
  readonly peer: string;
  readonly info: Info | undefined;
}

/** An observed room has this many members now; this client may not see their names. */
export interface CountEvent extends RelayEvent {
  readonly count: number;
}

export interface OpenEvent extends RelayEvent {
  /** The room had no other member. Of several clients that join at once, exactly one is first. */
  readonly first: boolean;
}

/**
 * The connection is lost, the peer id is not free yet (`peer_taken`), or the page's function returned no token
 * (`token_failed`); the next attempt follows after `delay`. Messages that are sent meanwhile wait. Code `hidden`: the page
 * went into the back/forward cache, and connects when it is shown again. Code `upgrading`: the connection was over HTTP, and
 * moves to a WebSocket.
 */
export interface ReconnectingEvent extends RelayEvent {
  readonly code: string;
  readonly text: string;
  readonly delay: number;
  readonly attempt: number;
}

/** The connection is back. `replayed` missed messages came before this event; if not `recovered`, an `error` came. */
export interface ResumedEvent extends RelayEvent {
  readonly replayed: number;
  readonly recovered: boolean;
}

/** The relay has renewed the credentials of its TURN servers, ahead of their end; `Room.iceServers` has the new ones. */
export interface IceEvent extends RelayEvent {
  readonly iceServers: RTCIceServer[];
}

/**
 * Something was missed and cannot be replayed (`messages_lost`, with the reason), or a frame could not be read
 * (`unreadable`). Later events are complete again. Or the token expires soon and there is no new one yet: the page's function
 * failed (`token_failed`), or the relay refused the token that it returned; the client goes on trying.
 */
export interface ErrorEvent extends RelayEvent {
  readonly code: string;
  readonly text: string;
  readonly reason?: 'epoch' | 'trimmed' | 'too_much' | 'off' | 'not_resumed' | 'internal';
}

/**
 * The room is over for this client: it left (`left`), the relay refused it, or it was put out (`kicked`, `room_closed`); then
 * `reason` has the words of the client or server that did it.
 */
export interface CloseEvent extends RelayEvent {
  readonly code: string;
  readonly text: string;
  readonly reason: string;
}

/** The rules of a room; null if the relay's settings count. */
export interface RoomRules {
  /** The most members. */
  max_members: number | null;
  /** Nobody new comes in. */
  locked: boolean;
  /** Whether a new member needs a password. */
  password: boolean;
  /** The seconds for which the rules outlive the last member. */
  ttl: number | null;
  /** Whether messages are kept, for members that were away. */
  history: boolean;
  /** The peer id of the owner. */
  owner: string | null;
}

/**
 * A change of rules; rules without a field here stay as they are. An empty password or owner removes it; with 0 as
 * `max_members` or `ttl`, the relay's settings count again.
 */
export interface RuleChange {
  max_members?: number;
  locked?: boolean;
  password?: string;
  ttl?: number;
  history?: boolean;
  owner?: string;
}

/** The room has other rules now. */
export interface RulesEvent extends RelayEvent {
  readonly rules: RoomRules;
  /** The peer that changed them; '' for the relay or a server. */
  readonly by: string;
}

/** A member is put out of the room. If it is this client, `close` follows, and else `leave`. */
export interface KickedEvent extends RelayEvent {
  readonly peer: string;
  readonly reason: string;
}

/** The room ends for all its members; `close` follows, but for an observer, which goes on. */
export interface ClosedEvent extends RelayEvent {
  readonly reason: string;
}

/** This client should go to another room: leave this one, and join the room with the name `to`. */
export interface MoveEvent extends RelayEvent {
  readonly to: string;
}

export interface RoomEvents {
  message: MessageEvent;
  join: PresenceEvent;
  change: ChangeEvent;
  leave: PresenceEvent;
  count: CountEvent;
  open: OpenEvent;
  reconnecting: ReconnectingEvent;
  resumed: ResumedEvent;
  ice: IceEvent;
  error: ErrorEvent;
  rules: RulesEvent;
  kicked: KickedEvent;
  closed: ClosedEvent;
  move: MoveEvent;
  close: CloseEvent;
}

export class RelayEvent extends Event {
  private constructor();
}

/**
 * A call failed. Beside the protocol's codes there are `not_acknowledged` (not in time, or not over the present connection),
 * `queue_full`, `left`, `overflow` (a loop over events was too slow), `unreachable`, `protocol_error`, `bad_url`,
 * `bad_transport`, `token_failed`. A room of which the relay wants this client to stay away has `closed` with the code that says why:
 * `token_required`, `room_locked`, `bad_password`, `kicked` and others.
 */
export class RelayError extends Error {
  readonly code: string;
  readonly text: string;
  /** For `not_acknowledged`: others may have got the message. */
  readonly possiblySent: boolean;
}

/**
 * A room. It reconnects by itself, and then reports each missed event once and in order.
 *
 * A loop `for await (const event of room)` gets every event from the start of the loop on, except `close`: the loop ends when
 * this client leaves, and throws when the relay refuses this client.
 */
export class Room extends EventTarget implements AsyncIterable<RoomEvents[Exclude<keyof RoomEvents, 'close'>]> {
  private constructor();
  /** The room's name as text, as it was given to `join`. */
  readonly name: string;
  /** This client's peer id in the room, "" for an observer; escaped, as all peer ids in events, `members` and `to`. */
  readonly peer: string;
  /** The members, connected or held, including this client. Of a large room, as many as the relay lists. */
  readonly members: string[];
  /** The infos of the members that have one, by peer id. */
  readonly infos: Map<string, Info>;
  /** How many members the room has, of which `members` may lack some; 0 without `presence`. */
  readonly count: number;
  /** The room had no other member when this client joined; see `open`. */
  readonly first: boolean;
  readonly connected: boolean;
  /** How this client is connected now; '' while it is not. */
  readonly transport: Transport | '';
  /** Resolves when this client has joined; rejects when the relay refuses it. */
  readonly ready: Promise<Room>;
  /** Why the room is over; undefined before. */
  readonly closed: RelayError | undefined;
  /** The newest id that this client received. */
  readonly id: MessageId;
  /** The relay's STUN and TURN servers, with credentials that are valid now: read them for each new connection. */
  readonly iceServers: RTCIceServer[];
  /** How many envelopes wait for their acknowledgement. */
  readonly waiting: number;
  /** How many envelopes were sent more than once; each was delivered once. */
  readonly resent: number;
  /** How many messages came twice and were dropped: 0 if the relay keeps its promises. */
  readonly duplicates: number;

  /**
   * Send any JSON value to the room, or to some of its members. Resolves when the relay has it. Messages keep their order,
   * even over several connections.
   */
  send(message: unknown, options?: SendOptions): Promise<Receipt>;
  /**
   * Replace the info that this client shows to the other members; null removes it. Resolves when the relay has it, or a newer
   * one: the relay takes about one change a second, and of changes that come faster only the newest is sent. After a lost
   * connection, this client gives the info again.
   */
  setInfo(info: Info | null): Promise<void>;
  /** The rules of the room. */
  rules(): Promise<RoomRules>;
  /**
   * Change rules, which takes a token that grants `lock`, or the owner if the relay allows that. This call and those below
   * reject with the relay's refusal (`not_granted`, `not_owner`), and with `not_acknowledged` without a connection.
   */
  setRules(change: RuleChange): Promise<RoomRules>;
  /** Let nobody new in. */
  lock(): Promise<RoomRules>;
  unlock(): Promise<RoomRules>;
  /**
   * Put a member out, and tell all the `reason`. For `ban` seconds, its token's subject may not come back; without tokens,
   * its peer id may not, which it can change. Resolves with the number of members that were put out.
   */
  kick(peer: string, options?: { reason?: string; ban?: number }): Promise<number>;
  /** Put all members out, this client included, and end the room. */
  closeRoom(options?: { reason?: string }): Promise<void>;
  /** Send members to another room, by its name: these peers, or all. Resolves with their number. See the event `move`. */
  movePeers(room: string, peers?: string | string[]): Promise<number>;
  on<Name extends keyof RoomEvents>(
    name: Name, listener: (event: RoomEvents[Name]) => void, options?: AddEventListenerOptions,
  ): this;
  off<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): this;
  /** Send the waiting messages, then leave, so that the others see it at once. */
  leave(): Promise<void>;
  /** Lose the connection on purpose, as a change of network would. It reconnects by itself. */
  drop(): void;
  [Symbol.asyncIterator](): AsyncIterator<RoomEvents[Exclude<keyof RoomEvents, 'close'>]>;
}

export interface MeshEvents {
  /** A peer sends a track: once for each track. */
  stream: RelayEvent & {
    readonly peer: string;
    readonly stream: MediaStream;
    readonly track: MediaStreamTrack;
    readonly connection: RTCPeerConnection;
  };
  /** A peer left the call. */
  gone: RelayEvent & { readonly peer: string };
  /** A peer sent something that makes no sense, or the browser refused it. */
  error: RelayEvent & { readonly peer: string; readonly error: unknown };
  state: RelayEvent & {
    readonly peer: string;
    readonly state: RTCPeerConnectionState;
    readonly connection: RTCPeerConnection;
  };
}

/** A call of each member with each other one, by perfect negotiation. It ends with its room. */
export class Mesh extends EventTarget {
  private constructor();
  readonly room: Room;
  readonly stream: MediaStream | null;
  /** The peer connections, by peer id. */
  readonly connections: Map<string, RTCPeerConnection>;
  on<Name extends keyof MeshEvents>(
    name: Name, listener: (event: MeshEvents[Name]) => void, options?: AddEventListenerOptions,
  ): this;
  /** Send another stream; null for none. */
  replaceStream(stream: MediaStream | null): void;
  /** Leave the call; stay in the room. */
  close(): void;
}

/** The argument of a signaling channel in RTCMultiConnection 2, DataChannel.js and the WebRTC experiments. */
export interface ChannelConfig {
  channel?: string | number;
  onmessage?: (message: any) => void;
  onopen?: () => void;
}

export interface Channel {
  readonly channel: string;
  send(message: unknown): void;
}

export interface Presence {
  room: string;
  present: boolean;
  count: number;
  members?: { peer: string; held?: true; info?: Info }[];
}

export class Relay {
  /**
   * `url` is the relay's address (`wss://…` or `https://…`); without it, the page's own server. Of several addresses, each new
   * connection tries the next one. A room in the address, `wss://host/rooms/NAME`, is the room of `openSignalingChannel`.
   */
  constructor(url?: string | string[], options?: Options);

  /** Join a room, by a name of any text. Rooms with the same peer id share one connection. */
  join(room: string, options?: JoinOptions): Room;
  /**
   * Watch a room without joining it: this client is no member, and cannot send. After a lost connection it observes anew, and
   * gets an `error` (`messages_lost`).
   */
  observe(room: string, options?: ObserveOptions): Room;
  /**
   * The members of a room, without joining it; all names in the answer are escaped. To decide which client opens a session,
   * join, and look at `first`.
   */
  presence(room: string): Promise<Presence>;
  /** STUN and TURN servers for `new RTCPeerConnection`, once this client has joined a room; see `Room.iceServers`. */
  iceServers(): Promise<RTCIceServer[]>;
  /** A call in a room; a room given by its name is joined. Other options are for RTCPeerConnection. */
  mesh(room: Room | string, options?: { stream?: MediaStream | null } & RTCConfiguration): Mesh;
  readonly rooms: Room[];
  /** Leave all rooms. */
  close(): Promise<void>;
  /** Lose all connections on purpose, like `Room.drop`. */
  drop(): void;

  /** For `connection.openSignalingChannel`: the page gets only the messages of the channels that it opens. */
  readonly openSignalingChannel: (config: ChannelConfig) => Channel;
  /** The same for the standalone experiments. */
  readonly openSocket: (config: ChannelConfig) => Channel;
  /** For RTCMultiConnection 3: `connection.setCustomSocketHandler(relay.socketHandler)`. */
  readonly socketHandler: new (connection: any, connected?: (socket: any) => void) => void;

  static readonly Room: typeof Room;
  static readonly Mesh: typeof Mesh;
  static readonly RelayError: typeof RelayError;
  static readonly RelayEvent: typeof RelayEvent;
  /** The escaped form of a name, as peer ids have it: `Relay.escape('main hall')` is `main%20hall`. */
  static readonly escape: (text: string) => string;
  /** The text of an escaped name, to show it to people. */
  static readonly unescape: (name: string) => string;
}

export default Relay;
