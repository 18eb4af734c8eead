// Types of relay.js: `import { Relay } from "/relay.mjs"`, or `<script src="/relay.js">`, after which `Relay` is there.
// Codes and reasons are those of the relay's protocol. Times are in milliseconds.

/** An id of a room's sequence, `epoch-number`. */
export type MessageId = string;

export interface Options {
  /** The id to have in rooms; one of this client's choice without it. */
  peer?: string;
  /** Goes as an offered subprotocol, never in an address. */
  token?: string;
  /** Envelopes of a room that may wait for the relay (1000); beyond that, `send` fails with `queue_full`. */
  outgoing?: number;
  /** Of these, as many are on their way at a time (32). */
  window?: number;
  /** From opening a connection to the relay's welcome (10,000). */
  connectTimeout?: number;
  /** Who hears nothing for so long asks (10,000) … */
  pingInterval?: number;
  /** … and after so long without an answer connects anew (5,000). */
  pingTimeout?: number;
  /** For saying goodbye (2,000). */
  closeTimeout?: number;
  /** Where jitter comes from: a number from 0 to 1. */
  random?: () => number;
  /** For where there is none, such as Node before 22: that of the package `ws`. */
  WebSocket?: unknown;
}

export interface JoinOptions {
  /** Another id than the `Relay`'s; rooms of different ids have connections of their own. */
  peer?: string;
  token?: string;
  /** Keep `members`, and tell of joins and leaves (true). A room of thousands is better off without. */
  presence?: boolean;
  /** Hear oneself (false). */
  echo?: boolean;
  /** Hear these channels and no others. */
  channels?: string[];
}

export interface SendOptions {
  /** Only these get it: all of them or, when one is absent, none (`no_such_peer`). */
  to?: string | string[];
  channel?: string | number;
  /** What the envelope says of its sender, for clients that look there; the relay vouches for `from` alone. */
  sender?: string | number;
  /** A key under which it is delivered once, over as many lives of this client as it takes. */
  key?: string;
  /** How long to wait for the acknowledgement (30,000); `Infinity` for as long as it takes. */
  timeout?: number;
}

export interface Receipt {
  id: MessageId;
  key: string;
}

/** Somebody said something. */
export interface MessageEvent extends RelayEvent {
  readonly id: MessageId;
  /** The peer that the relay vouches for. */
  readonly from: string;
  readonly message: any;
  readonly channel?: string | number;
  readonly sender?: string | number;
  readonly to?: string | string[];
  /** The whole envelope, as it came. */
  readonly envelope: Record<string, any>;
}

export interface PresenceEvent extends RelayEvent {
  readonly peer: string;
}

export interface OpenEvent extends RelayEvent {
  /** Nobody else was there; of several who came at once, exactly one is told so. */
  readonly first: boolean;
}

/** There is no connection; the next attempt is made after `delay`. What is sent meanwhile waits. */
export interface ReconnectingEvent extends RelayEvent {
  readonly code: string;
  readonly text: string;
  readonly delay: number;
  readonly attempt: number;
}

/** The connection is back. What was missed has been told, `replayed` envelopes; or could not be had, see `error`. */
export interface ResumedEvent extends RelayEvent {
  readonly replayed: number;
  readonly recovered: boolean;
}

/** Something was missed and cannot be had (`messages_lost`, with the reason). What follows is complete again. */
export interface ErrorEvent extends RelayEvent {
  readonly code: string;
  readonly text: string;
  readonly reason?: 'epoch' | 'trimmed' | 'too_much' | 'off' | 'not_resumed' | 'internal';
}

/** The room is over for this client: it has left (`left`), or the relay does not want it back. */
export interface CloseEvent extends RelayEvent {
  readonly code: string;
  readonly text: string;
}

export interface RoomEvents {
  message: MessageEvent;
  join: PresenceEvent;
  leave: PresenceEvent;
  open: OpenEvent;
  reconnecting: ReconnectingEvent;
  resumed: ResumedEvent;
  error: ErrorEvent;
  close: CloseEvent;
}

export class RelayEvent extends Event {
  private constructor();
}

/**
 * Something was not done. Beside the protocol's codes there are `not_acknowledged` (not in time), `queue_full`, `left`,
 * `overflow` (a loop over events was too slow), `unreachable`, `protocol_error`, `bad_url`, `bad_token`.
 */
export class RelayError extends Error {
  readonly code: string;
  readonly text: string;
  /** Of `not_acknowledged`: whether others may have got it all the same. */
  readonly possiblySent: boolean;
}

/**
 * A room, which comes back by itself whenever its connection is lost, with nothing lost or told twice.
 *
 * A loop `for await (const event of room)` gets every event from its beginning on, but `close`: it ends when this client
 * leaves, and throws when the relay does not want it back.
 */
export class Room extends EventTarget implements AsyncIterable<RoomEvents[Exclude<keyof RoomEvents, 'close'>]> {
  private constructor();
  readonly name: string;
  /** This client's id in the room. */
  readonly peer: string;
  /** Who is here, connected or expected back, this client included; of a large room, as many as the relay lists. */
  readonly members: string[];
  /** Whether nobody else was here on arrival; see `open`. */
  readonly first: boolean;
  readonly connected: boolean;
  /** Resolves when the relay has let this client in; rejects when it will not. */
  readonly ready: Promise<Room>;
  /** Why the room is over; undefined while it is not. */
  readonly closed: RelayError | undefined;
  /** The newest id that this client was told. */
  readonly id: MessageId;
  /** STUN and TURN servers, as the relay told them on arrival. */
  readonly iceServers: RTCIceServer[];
  /** How many envelopes wait for their acknowledgement. */
  readonly waiting: number;
  /** How many envelopes were sent more than once; each was delivered once. */
  readonly resent: number;
  /** How many came twice, and were dropped: none, if the relay does what it promises. */
  readonly duplicates: number;

  /**
   * Send anything that JSON can say to everybody in the room, or to some. Resolves when the relay has it; what is sent
   * keeps its order, over as many connections as it takes.
   */
  send(message: unknown, options?: SendOptions): Promise<Receipt>;
  on<Name extends keyof RoomEvents>(
    name: Name, listener: (event: RoomEvents[Name]) => void, options?: AddEventListenerOptions,
  ): this;
  off<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): this;
  /** Send what waits, and say goodbye, so that the others see it at once. */
  leave(): Promise<void>;
  /** Lose the connection without a word, as a change of network would; it comes back by itself. */
  drop(): void;
  [Symbol.asyncIterator](): AsyncIterator<RoomEvents[Exclude<keyof RoomEvents, 'close'>]>;
}

export interface MeshEvents {
  /** Somebody is seen or heard: once for every track. */
  stream: RelayEvent & {
    readonly peer: string;
    readonly stream: MediaStream;
    readonly track: MediaStreamTrack;
    readonly connection: RTCPeerConnection;
  };
  /** And is no more. */
  gone: RelayEvent & { readonly peer: string };
  /** What a peer said makes no sense, or the browser would not do it. */
  error: RelayEvent & { readonly peer: string; readonly error: unknown };
  state: RelayEvent & {
    readonly peer: string;
    readonly state: RTCPeerConnectionState;
    readonly connection: RTCPeerConnection;
  };
}

/** A call of everybody with everybody, by perfect negotiation; it ends with its room. */
export class Mesh extends EventTarget {
  private constructor();
  readonly room: Room;
  readonly stream: MediaStream | null;
  /** By peer id. */
  readonly connections: Map<string, RTCPeerConnection>;
  on<Name extends keyof MeshEvents>(
    name: Name, listener: (event: MeshEvents[Name]) => void, options?: AddEventListenerOptions,
  ): this;
  /** Show the others something else; null for nothing. */
  replaceStream(stream: MediaStream | null): void;
  /** Leave the call, not the room. */
  close(): void;
}

/** What RTCMultiConnection 2, DataChannel.js and the WebRTC experiments give to a signaling channel. */
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
  members?: { peer: string; held?: true }[];
}

export class Relay {
  /**
   * `url` is where the relay is (`wss://…` or `https://…`), the page's own server without it; of several places each new
   * connection tries the next. A room in it, `wss://host/rooms/NAME`, is where channels are opened.
   */
  constructor(url?: string | string[], options?: Options);

  /** Enter a room. All rooms share one connection. */
  join(room: string, options?: JoinOptions): Room;
  /** Who is in a room, without entering it. To decide who opens a session, enter, and look at `first`. */
  presence(room: string): Promise<Presence>;
  /** STUN and TURN servers for `new RTCPeerConnection`, once a room has let this client in. */
  iceServers(): Promise<RTCIceServer[]>;
  /** A call in a room, which is entered if only its name is given. What else is given is for RTCPeerConnection. */
  mesh(room: Room | string, options?: { stream?: MediaStream | null } & RTCConfiguration): Mesh;
  readonly rooms: Room[];
  /** Leave all rooms. */
  close(): Promise<void>;
  /** Lose all connections, see `Room.drop`. */
  drop(): void;

  /** `connection.openSignalingChannel = relay.openSignalingChannel`; the page gets the messages of its channels alone. */
  readonly openSignalingChannel: (config: ChannelConfig) => Channel;
  /** The same for the standalone experiments. */
  readonly openSocket: (config: ChannelConfig) => Channel;
  /** For RTCMultiConnection 3: `connection.setCustomSocketHandler(relay.socketHandler)`. */
  readonly socketHandler: new (connection: any, connected?: (socket: any) => void) => void;

  static readonly Room: typeof Room;
  static readonly Mesh: typeof Mesh;
  static readonly RelayError: typeof RelayError;
  static readonly RelayEvent: typeof RelayEvent;
}

export default Relay;
