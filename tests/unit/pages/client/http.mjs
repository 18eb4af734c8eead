// A fake relay over HTTP: takes the requests of `fetch`, and writes the streams that the tests want.
const real = globalThis.fetch;

export class FakeStream {
  #controller;

  constructor({ url, body, signal }) {
    Object.assign(this, { url: new URL(url), offered: body.split(', '), aborted: false, ended: false });
    this.body = new ReadableStream({ start: (controller) => { this.#controller = controller; } });
    signal.addEventListener('abort', () => {
      this.aborted = true;
      if (!this.ended) this.#controller.error(new Error('aborted'));
      this.ended = true;
    });
  }

  get resume() {
    return this.offered[1].slice('resume.'.length);
  }

  write(text) {
    this.#controller.enqueue(new TextEncoder().encode(text));
  }

  say(frame) {
    this.write(`data: ${JSON.stringify(frame)}\n\n`);
  }

  begin(session) {
    this.write(`:\n\nevent: session\ndata: {"session":"${session}"}\n\n`);
  }

  welcome(more = {}) {
    this.begin('id');
    this.say({ type: 'welcome', peer: 'me', room: 'r', id: '1-1', resumed: false, first: true, resume: 'key-http', ...more });
  }

  end() {
    this.ended = true;
    this.#controller.close();
  }
}

/** The requests: `streams` that were opened, and `posts` with frames, which `answer` answers. */
export class FakeHttp {
  streams = [];
  posts = [];
  down = false;
  answer = () => ({ ok: true, status: 204 });

  get last() {
    return this.streams.at(-1);
  }

  begin() {
    globalThis.fetch = async (url, options) => {
      if (this.down) throw new TypeError('no network');
      const { pathname, searchParams } = new URL(url);
      if (pathname.endsWith('/connect')) {
        const stream = new FakeStream({ url, ...options });
        this.streams.push(stream);
        return { ok: true, status: 200, body: stream.body };
      }
      const frames = options.body.split('\n').filter(Boolean).map((line) => JSON.parse(line));
      this.posts.push({ frames, session: searchParams.get('session'), close: searchParams.get('close'), url, options });
      return this.answer(this.posts.at(-1));
    };
  }

  end() {
    globalThis.fetch = real;
  }

  get frames() {
    return this.posts.flatMap((post) => post.frames);
  }
}
