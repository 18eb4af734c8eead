// A connection over HTTP with the interface of a WebSocket, for networks that let no WebSocket through: the relay's frames come
// in one response that does not end, and this client's frames go in posts, one after the other.

import { GOING_AWAY, NO_CLOSE } from './errors.js';

export const OPEN = 1;
const CLOSED = 3;
const TOO_LARGE = 1009;

// The bounds of one post; a longer frame goes alone.
const MAX_FRAMES = 100;
const MAX_LENGTH = 60_000;

// A post may reach a worker that cannot pass it on to the one with the session. The next one may reach another worker.
const TRIES = 6;
const PAUSE = 100;

// For so long after the end of its stream, the relay takes a goodbye.
const LATE_GOODBYE = 2000;

/** Yields the events of a stream, as [name, data]; the name of most is ''. */
async function* eventsOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    const searched = Math.max(0, text.length - 1);
    text += decoder.decode(value, { stream: true });
    let begin = 0;
    for (let end = text.indexOf('\n\n', searched); end >= 0; end = text.indexOf('\n\n', begin)) {
      yield eventOf(text.slice(begin, end));
      begin = end + 2;
    }
    text = text.slice(begin);
  }
}

function eventOf(block) {
  const lines = block.split('\n');
  const valuesOf = (field) => lines.filter((line) => line.startsWith(`${field}: `)).map((line) => line.slice(field.length + 2));
  return [valuesOf('event').join(''), valuesOf('data').join('\n')];
}

/** `url` and `protocols` are those of the WebSocket in whose place this is. */
export class HttpSocket {
  readyState = 0;
  onmessage = null;
  onclose = null;
  onerror = null;
  #room;
  #session = '';
  #waiting = [];
  #posting = false;
  #stream = new AbortController();
  #hidden = () => {
    this.#release();
    this.#sayGoodbye(GOING_AWAY);
    this.#stream.abort();
  };

  constructor(url, protocols) {
    const { protocol, host, pathname, search } = new URL(url);
    // The default room has no name here; the relay knows it.
    const room = pathname.endsWith('/') ? `${pathname}rooms/` : pathname;
    this.#room = `${protocol.replace('ws', 'http')}//${host}${room}`;
    // Browsers close the WebSockets of a page that ends; this does the same.
    globalThis.addEventListener?.('pagehide', this.#hidden);
    this.#open(search, protocols.join(', '));
  }

  send(text) {
    this.#waiting.push(text);
    this.#post();
  }

  /** End the connection; the relay gets the code, unless the network has failed. */
  close(code = 1000) {
    if (this.readyState === CLOSED) return;
    this.#release();
    this.#sayGoodbye(code);
    this.#stream.abort();
  }

  #sayGoodbye(code) {
    if (this.#session) this.#request(`&close=${code}`, '', { keepalive: true }).catch(() => {});
  }

  async #open(query, offered) {
    try {
      // Of this type, a body needs no question of the browser beforehand. Secrets are not in the address.
      const answer = await ask(`${this.#room}/connect${query}`, offered, { signal: this.#stream.signal });
      if (answer.ok) for await (const [name, data] of eventsOf(answer.body)) this.#receive(name, data);
    } catch {
      // The network failed, or this client has closed the connection.
    }
    this.#end(NO_CLOSE);
  }

  #receive(name, data) {
    if (this.readyState === CLOSED) return;
    if (name === 'session') {
      this.#session = JSON.parse(data).session;
      this.readyState = OPEN;
      this.#post();
    } else if (name === 'close') {
      const { code, reason } = JSON.parse(data);
      this.#end(code, reason);
    } else if (data) {
      this.onmessage?.({ data });
    }
  }

  async #post() {
    if (this.#posting || this.readyState !== OPEN) return;
    this.#posting = true;
    while (this.#waiting.length && this.readyState === OPEN) {
      const answer = await this.#deliver(this.#take()).catch(() => null);
      if (!answer?.ok) this.#end(answer?.status === 413 ? TOO_LARGE : NO_CLOSE);
    }
    this.#posting = false;
  }

  #take() {
    let length = 0;
    const beyond = this.#waiting.findIndex((frame, index) => {
      length += frame.length;
      return index > 0 && (index === MAX_FRAMES || length > MAX_LENGTH);
    });
    return this.#waiting.splice(0, beyond < 0 ? MAX_FRAMES : beyond).join('\n');
  }

  async #deliver(body) {
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#request('', body, { signal: this.#stream.signal });
      if (answer.status !== 400 || attempt === TRIES) return answer;
      if ((await answer.json()).error?.code !== 'unknown_session') return answer;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  #request(query, body, options) {
    return ask(`${this.#room}/frames?session=${encodeURIComponent(this.#session)}${query}`, body, options);
  }

  /** The connection has ended without this client's doing. */
  #end(code, reason = '') {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    // Browsers end the requests of a page ahead of `pagehide`: the page may be about to end.
    if (code === NO_CLOSE && globalThis.addEventListener) setTimeout(() => this.#release(), LATE_GOODBYE);
    else this.#release();
    this.#stream.abort();
    this.onclose?.({ code, reason });
  }

  #release() {
    this.readyState = CLOSED;
    globalThis.removeEventListener?.('pagehide', this.#hidden);
  }
}

/** Whether this environment can read a response while it arrives. */
export function canStream() {
  return typeof fetch === 'function' && typeof ReadableStream === 'function' && typeof AbortController === 'function';
}

function ask(url, body, options) {
  return fetch(url, { method: 'POST', body, credentials: 'omit', cache: 'no-store', ...options });
}
