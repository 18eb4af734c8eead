// How long to wait, in milliseconds: before the next attempt, and for an answer.

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

/** Wait for a promise; resolves with undefined if it takes longer than `time`. */
export function within(time, promise) {
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, time); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
