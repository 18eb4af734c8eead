// How long to wait before the next attempt, in milliseconds.

const SOON = 500;

/** Full jitter: a random time up to a bound that doubles with each failure, from `base` to `cap`. */
export class Backoff {
  constructor({ base = 250, cap = 10_000, random = Math.random } = {}) {
    this.base = base;
    this.cap = cap;
    this.random = random;
    this.bound = base;
  }

  /** The wait after a failure. */
  next(atLeast = 0) {
    const bound = this.bound;
    this.bound = Math.min(this.cap, bound * 2);
    return atLeast + this.random() * bound;
  }

  /** The wait after a worker sent its clients elsewhere: short, but not the same for all of them. */
  soon() {
    return this.random() * SOON;
  }

  /** An attempt succeeded. */
  reset() {
    this.bound = this.base;
  }
}
