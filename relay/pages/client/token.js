// The token of a connection: a text, or a function of the page that returns one.

import { within } from './backoff.js';
import { RelayError } from './errors.js';
import { bytesOf } from './ids.js';

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]*$/;

/** `given` is the page's option; '' stands for no token. */
export class Token {
  constructor(given) {
    if (typeof given !== 'function') checkToken(given);
    this.given = given;
  }

  /** Whether the page can give another token when this one expires. */
  get renewable() {
    return typeof this.given === 'function';
  }

  /** Ask the page for a token, which it has at most so many milliseconds for; rejects with `token_failed`. */
  async ask(time) {
    if (!this.renewable) return this.given;
    try {
      const token = await within(time, Promise.resolve(this.given()));
      if (token === undefined) throw new Error('it returned none in time');
      const text = typeof token === 'string' ? token.trim() : token;
      checkToken(text);
      return text;
    } catch (error) {
      const why = error?.text ?? error?.message ?? error;
      throw new RelayError('token_failed', `the function that returns the token failed: ${why}`);
    }
  }
}

/**
 * The peer id of a client that may have any: the one that its token is for (claim `sub`), with `random` text in place of a *;
 * `random` itself without one. The relay checks the token; here it is only read.
 */
export function peerOf(token, random) {
  try {
    const { sub } = JSON.parse(new TextDecoder().decode(bytesOf(token.split('.')[1])));
    return sub && typeof sub === 'string' ? sub.replace('*', random).replaceAll('*', '') : random;
  } catch {
    return random; // no token, or one that only the relay can read
  }
}

function checkToken(token) {
  if (typeof token !== 'string' || !TOKEN.test(token)) {
    throw new RelayError('bad_token', 'a token is text, without spaces, commas, slashes and quotes');
  }
}
