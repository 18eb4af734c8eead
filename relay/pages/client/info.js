// This client's own member info, until the relay has it. No input or output.
//
// An info is a state and not a message: of several changes only the newest is sent, and a new connection gives it when it
// joins. So a change is confirmed by the answer to a command, or by a welcome.

import { SEND_AGAIN, RelayError } from './errors.js';
import { randomText } from './ids.js';
import { nestsDeeper } from './outbox.js';

const MAX_INFO = 1024;
const MAX_INFO_NESTING = 16;
// The field with the claim of a member's token about its holder.
const VOUCHED = '$token';

/** Each change has a number; `text` is the JSON text of the newest info, '' for none. */
export class OwnInfo {
  #number = 0;
  #confirmed = 0;
  #offered = 0;
  #sent = 0;
  #key = '';
  #paused = false;
  #attempts = 0;
  #prefix = `info-${randomText(6)}-`;
  #waiting = new Map();

  constructor(info) {
    this.text = textOf(info);
  }

  has(key) {
    return this.#key !== '' && key === this.#key;
  }

  /** Replace the info. Resolves when the relay has it or a newer one. */
  change(info) {
    this.text = textOf(info);
    this.#number += 1;
    const done = new Promise((resolve, reject) => this.#waiting.set(this.#number, { resolve, reject }));
    done.catch(() => {}); // perhaps no caller waits for it
    return done;
  }

  /** Return the info to join with, '' for none. */
  offer() {
    // Without an info in a join, a member that resumes keeps the one it has: a removal is sent after the welcome.
    this.#offered = this.text ? this.#number : 0;
    return this.text;
  }

  /** The relay accepted the join, and has the info in it. */
  welcomed() {
    this.#end(this.#offered);
    this.#key = '';
    this.#paused = false;
  }

  /** Return the command to send now, if there is one; `label` is the room's name in frames. */
  command(label) {
    if (this.#key || this.#paused || this.#confirmed === this.#number) return undefined;
    this.#key = `${this.#prefix}${this.#attempts++}`;
    this.#sent = this.#number;
    return { type: 'info', info: this.text ? JSON.parse(this.text) : null, key: this.#key, ...(label && { room: label }) };
  }

  answered(key) {
    if (!this.has(key)) return;
    this.#end(this.#sent);
    this.#key = '';
  }

  /** The relay refused the command. Returns whether to call `again` after a pause, and then to send it once more. */
  refused(key, code, text) {
    if (!this.has(key)) return false;
    this.#key = '';
    this.#paused = SEND_AGAIN.has(code);
    if (!this.#paused) this.#end(this.#sent, new RelayError(code, text));
    return this.#paused;
  }

  again() {
    this.#paused = false;
  }

  fail(error) {
    this.#end(this.#number, error);
  }

  /** End the changes up to this one. One that was refused is not sent again either. */
  #end(number, error) {
    this.#confirmed = Math.max(this.#confirmed, number);
    for (const [older, { resolve, reject }] of this.#waiting) {
      if (older > number) break;
      this.#waiting.delete(older);
      if (error) reject(error);
      else resolve();
    }
  }
}

function textOf(info) {
  if (info === null || info === undefined) return '';
  const text = JSON.stringify(info);
  if (!text?.startsWith('{')) throw new RelayError('bad_info', 'an info is an object');
  const size = new TextEncoder().encode(text).length;
  if (size > MAX_INFO) throw new RelayError('bad_info', `an info has at most ${MAX_INFO} bytes as JSON; this one has ${size}`);
  // Checked here and not by the relay alone: it would refuse each later join that offers the same info.
  if (Object.hasOwn(JSON.parse(text), VOUCHED)) throw new RelayError('bad_info', `only a token may write ${VOUCHED}`);
  if (nestsDeeper(text, MAX_INFO_NESTING)) throw new RelayError('bad_info', `an info nests at most ${MAX_INFO_NESTING} levels deep`);
  return text;
}
