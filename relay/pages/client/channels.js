// `openSignalingChannel` and `openSocket`, as RTCMultiConnection 2, DataChannel.js and the WebRTC experiments want them.

import { randomText } from './ids.js';

// What pages have always waited until they call a channel open: so long others have to open it as well, who would miss
// what is said on it before.
const OPENING = 1000;

/**
 * Channels within one room. A page hears only those it has opened: the relay is told which, and sends no others.
 *
 * `join` makes the room when the first channel is opened; `say` tells the relay of channels, see `Link.ask`.
 */
export class Channels {
  #handlers = new Map();
  #sender = randomText(9);
  #room = null;

  constructor(join) {
    this.join = join;
  }

  open(config, channel) {
    this.#handlers.set(channel, config);
    const opened = () => config.onopen && setTimeout(() => config.onopen(), OPENING);
    // Left unhandled, a refusal would be the end of a process in Node; a page's console shows it all the same.
    this.#listen(channel).then(opened, (error) => globalThis.reportError?.(error));
    const send = (message) => {
      // There is nobody to tell: the libraries look at no answer, and the room's `close` event says why it ended.
      this.#room.send(message, { channel, sender: this.#sender, timeout: Infinity }).catch(() => {});
    };
    return { channel, send };
  }

  async #listen(channel) {
    if (this.#room?.closed) this.#room = null;
    if (!this.#room) {
      const { room, listen } = this.join([...this.#handlers.keys()]);
      this.#room = room;
      this.listen = listen;
      room.on('message', ({ channel: name, message }) => this.#handlers.get(String(name))?.onmessage?.(message));
    }
    // At once, if there is somebody to tell: ahead of whatever the page says of this channel.
    if (!this.#room.connected) await this.#room.ready;
    await this.listen(channel);
  }
}
