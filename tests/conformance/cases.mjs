// The functions for the clients' cases, and the player of them: in Node, and in a page.
const cases = [];
let number = 0;

// A case is a function, or a word that says where it is played; null is for one that is not run.
export const describe = (suite, list) => {
  for (const [name, run] of Object.entries(list)) cases.push({ number: number++, suite, name, run });
};
export const check = (condition, text) => { if (!condition) throw new Error(text || 'not as expected'); };
export const same = (a, b) => check(JSON.stringify(a) === JSON.stringify(b), `${JSON.stringify(a)} is not ${JSON.stringify(b)}`);
export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const next = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
export const never = (emitter, event) => new Promise((_, reject) => emitter.on(event, () => reject(new Error(`${event} came`))));
export const quiet = (emitter, event, ms = 100) => Promise.race([never(emitter, event), wait(ms)]);

// A clock that stands still, for objects that are made `during` its time.
export class Clock {
  #now = 0;
  #last = 0;
  #timers = new Map();

  during(make) {
    const { setTimeout, clearTimeout } = globalThis;
    globalThis.setTimeout = (run, ms = 0) => { this.#timers.set(++this.#last, { run, at: this.#now + ms }); return this.#last; };
    globalThis.clearTimeout = (id) => this.#timers.delete(id);
    try { return make(); } finally { Object.assign(globalThis, { setTimeout, clearTimeout }); }
  }

  tick(ms) {
    this.#now += ms;
    for (const [id, { run, at }] of this.#timers) if (at <= this.#now) { this.#timers.delete(id); run(); }
  }
}

async function played({ run, ...one }, ms) {
  if (typeof run !== 'function') return { ...one, outcome: run || 'not run' };
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('took too long')), ms); });
  try {
    await Promise.race([run(), late]);
    return { ...one, outcome: 'passed' };
  } catch (error) {
    return { ...one, outcome: 'failed', error: String(error.message || error) };
  } finally {
    clearTimeout(timer);
  }
}

// Play the cases that were described since the last time, some at a time; each fails after so many milliseconds. The longest
// one waits for three delays of a client, of up to 8.4 s together.
export async function play(together, tell, ms = 30_000) {
  const waiting = cases.splice(0);
  await Promise.all(Array.from({ length: together }, async () => {
    while (waiting.length) tell(await played(waiting.shift(), ms));
  }));
}
