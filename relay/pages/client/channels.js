// `openSignalingChannel` and `openSocket`, as RTCMultiConnection 2, DataChannel.js and the WebRTC experiments call them.

import { randomText } from './ids.js';

// Pages of these libraries call a channel open after one second. The others need this time to open it as well; they would
// miss messages that are sent before.
const OPENING = 1000;

/**
 * Channels in one room. The page subscribes to the channels that it opened, and the relay sends no others.
 *
 * `join(channels)` joins the room when the first channel is opened. It returns the room, and a function `listen` that
 * subscribes to one more channel.
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
    // An unhandled rejection would end a Node process. In a page, reportError shows it in the console.
    this.#listen(channel).then(opened, (error) => globalThis.reportError?.(error));
    const send = (message) => {
      // The libraries do not look at answers; the room's event `close` has the reason.
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
      room.on('message', ({ channel: name, message }) => {
        // A number is a label as well; an object cannot become text, if it has no method for that.
        if (typeof name !== 'object') this.#handlers.get(String(name))?.onmessage?.(message);
      });
    }
    // Without awaiting anything if connected: the subscription must leave before the page's first message on this channel.
    if (!this.#room.connected) await this.#room.ready;
    await this.listen(channel);
  }
}
