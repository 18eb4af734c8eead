// How long to wait before coming back, in milliseconds.

const SOON = 500;

/** Full jitter: somewhere between nothing and a bound that doubles with every failure, from `base` to `cap`. */
export class Backoff {
  constructor({ base = 250, cap = 10_000, random = Math.random } = {}) {
    this.base = base;
    this.cap = cap;
    this.random = random;
    this.bound = base;
  }

  /** After a failure. */
  next(atLeast = 0) {
    const bound = this.bound;
    this.bound = Math.min(this.cap, bound * 2);
    return atLeast + this.random() * bound;
  }

  /** After having been sent elsewhere: just long enough for not all to come at once. */
  soon() {
    return this.random() * SOON;
  }

  reset() {
    this.bound = this.base;
  }
}
