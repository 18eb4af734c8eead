// A client of the relay's protocol in JavaScript, for browsers and Node 22 or newer. In an older Node, pass the class
// WebSocket of the package `ws`.

const SEND_AGAIN = ['unavailable', 'too_fast', 'outcome_unknown', 'internal', 'out_of_order', 'not_joined', 'replaced'];
const WINDOW = 16; // envelopes that are sent ahead of their acknowledgements
const isFinal = (code) => [1000, 1002, 1007, 1009].includes(code) || code >= 4500;
const hexadecimal = (byte) => byte.toString(16).padStart(2, '0');
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), hexadecimal).join('');
const compare = ([epoch, sequence], [otherEpoch, otherSequence]) => epoch - otherEpoch || sequence - otherSequence;

/** A member of one room. `onEvent` is called with ('message', envelope), ('members', set) or ('lost', reason). */
export class Client {
  constructor(urls, room, peer, onEvent, { slow = 5000, WebSocket = globalThis.WebSocket } = {}) {
    Object.assign(this, { urls, onEvent, slow, WebSocket });
    this.address = `/rooms/${encodeURIComponent(room)}?peer=${encodeURIComponent(peer)}&presence=1`;
    this.key = newKey(); // the client's own first key: it can resume even without its first welcome
    this.position = null; // the id of the newest event, as [epoch, sequence]
    this.members = new Set();
    this.waiting = new Map(); // key: {envelope, resolve, reject}, in order, until the relay has answered
    this.sent = new Set(); // the keys of envelopes that were sent over this connection
    this.again = null; // the timer after which all that wait are sent again, after an error
    this.welcomes = this.duplicates = 0;
    this.joined = this.left = false;
  }

  /** Stay in the room, over one connection after the other. Resolves to the close code that ends this for good. */
  async run() {
    let bound = 250;
    for (let turn = 0; !this.left; turn++) {
      const welcomes = this.welcomes;
      const code = await new Promise((resolve) => this.#connect(this.urls[turn % this.urls.length], resolve));
      if (isFinal(code)) return code;
      bound = this.welcomes > welcomes ? 250 : Math.min(2 * bound, 10_000);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * bound));
    }
    return 1000;
  }

  /** Send an envelope, again and again until it is acknowledged. Resolves to its id; rejects with the relay's error. */
  publish(envelope) {
    return new Promise((resolve, reject) => {
      this.waiting.set(newKey(), { envelope, resolve, reject });
      this.#send();
    });
  }

  /** Leave the room, so that the others see it at once. */
  leave() {
    this.left = true;
    this.socket?.close(1000);
  }

  /** Serve one connection until it ends, and pass its close code to `done`: 1006 if there was none. */
  #connect(url, done) {
    const since = this.position ? `&since=${this.position.join('-')}` : '';
    const socket = new this.WebSocket(url + this.address + since, ['relay.v1', `resume.${this.key}`]);
    const end = (code) => {
      clearTimeout(this.timer);
      clearInterval(pinging);
      socket.onmessage = socket.onclose = null;
      this.joined = false;
      // Not 1000, nor no code at all: these mean that the client leaves. A dead connection must not be waited for.
      if (socket.readyState < 2) socket.close(this.left ? 1000 : 4000);
      done(code);
    };
    const expectSomething = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(end, this.slow, 1006);
    };
    const pinging = setInterval(() => this.joined && socket.send('{"type":"ping"}'), this.slow / 3);
    this.socket = socket;
    this.reconnect = () => end(1006);
    socket.onmessage = ({ data }) => {
      expectSomething(); // the relay answers a join, and later a ping, sooner than `slow`
      this.#receive(JSON.parse(data));
    };
    socket.onerror = () => {}; // a close follows
    socket.onclose = ({ code }) => end(code);
    expectSomething();
  }

  /** Send the first of the envelopes that wait. Each names the one before it, so that none overtakes another. */
  #send({ again = false } = {}) {
    if (again) {
      this.sent.clear();
      this.again = null;
    }
    let after;
    for (const [key, { envelope }] of [...this.waiting].slice(0, WINDOW)) {
      if (this.joined && !this.sent.has(key)) {
        this.sent.add(key);
        this.socket.send(JSON.stringify({ type: 'publish', key, envelope, after }));
      }
      after = key;
    }
  }

  #receive(frame) {
    const { type, code, key } = frame;
    const id = (frame.id ?? '0-0').split('-').map(Number);
    if (!type) {
      this.#hear(frame, id); // an envelope, whose other fields are the sender's
    } else if (type === 'welcome') {
      const lost = this.position && !frame.recovered;
      this.welcomes += 1;
      Object.assign(this, { key: frame.resume, position: id, joined: true });
      this.#send({ again: true });
      if (lost) this.onEvent('lost', frame.reason);
    } else if (code === 'messages_lost') {
      this.position = id;
      this.onEvent('lost', frame.reason);
    } else if (code === 'not_joined') {
      this.reconnect(); // the next connection joins again
    } else if (SEND_AGAIN.includes(code)) {
      // Errors mostly come for all of them, and one timer is enough.
      if (this.sent.has(key)) this.again ??= setTimeout(() => this.#send({ again: true }), 100 + Math.random() * 400);
    } else if (['ack', 'error'].includes(type) && this.waiting.has(key)) {
      const { resolve, reject } = this.waiting.get(key);
      this.waiting.delete(key);
      type === 'ack' ? resolve(frame.id) : reject(new Error(code));
      this.#send();
    }
    if (this.position && compare(id, this.position) > 0) this.position = id;
    if (['welcome', 'presence'].includes(type)) {
      const listed = frame.members?.map(({ peer }) => peer) ?? this.members;
      this.members = new Set([...listed].filter((peer) => !frame.left?.includes(peer)).concat(frame.joined ?? []));
      this.onEvent('members', this.members);
    }
  }

  /** Pass a message on, unless it is a duplicate. */
  #hear(envelope, id) {
    if (compare(id, this.position) > 0) this.onEvent('message', envelope);
    else this.duplicates += 1;
  }
}
