// Firebase clients in Node, unmodified: firebase 2.4.2, and today's `firebase/database`. Reads commands and prints events,
// each a line of JSON; programs.py says how. Commands: `open` (`kind`, `port`, `namespace`), `on` (`path`, `event`, and `of`
// for a query), `off`, `once`, `get`, `push`, `set`, `update`, `remove`, `transaction`, `onDisconnect`, `cancel`, `auth`,
// `offline`, `online`, `close`. Each answer has the `id` of its command.
import dns from 'node:dns';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

// Browsers resolve *.localhost by themselves.
const lookup = dns.lookup;
dns.lookup = (host, options, callback) => {
  const done = callback ?? options;
  if (!/(^|\.)localhost$/.test(host)) return lookup(host, options, callback);
  return options?.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
};

const require = createRequire(import.meta.url);
const today = { ...require('@firebase/app'), ...require('@firebase/database') };
const Firebase = require('firebase-2');

const clients = new Map();
const say = (client, what, fields = {}) => process.stdout.write(JSON.stringify({ client, what, ...fields }) + '\n');
const failed = (client, id) => (error) => say(client, 'failed', { id, code: error.code ?? null, message: error.message });

// Both have the same operations, under other names.
const kinds = {
  2: {
    open: ({ port, namespace }) => new Firebase(`http://${namespace}.relay.localhost:${port}`),
    ref: (root, path) => (path === '.info/connected' ? root.root().child(path) : path ? root.child(path) : root),
    on: (ref, event, seen, error) => ref.on(event, seen, error),
    off: (ref) => ref.off(),
    once: (ref) => new Promise((resolve, reject) => ref.once('value', resolve, reject)),
    call: (ref, name, ...values) => new Promise((resolve, reject) => {
      const result = ref[name](...values, (error, ...more) => (error ? reject(error) : resolve(more)));
      if (name === 'push') result.then?.(() => {}, () => {});
    }),
    push: (ref, value) => { const child = ref.push(); return [child.key(), kinds[2].call(child, 'set', value)]; },
    transaction: (ref, change) => new Promise((resolve, reject) => {
      ref.transaction(change, (error, committed, value) => (error ? reject(error) : resolve([committed, value.val()])));
    }),
    disconnect: (ref, name, ...values) => kinds[2].call(ref.onDisconnect(), name, ...values),
    limited: (ref) => ref.limitToLast(1),
    stamp: Firebase.ServerValue.TIMESTAMP,
    add: null,
    auth: (root, token) => new Promise((resolve, reject) => {
      root.authWithCustomToken(token, (error, data) => (error ? reject(error) : resolve(data.uid)));
    }),
    key: (snapshot) => snapshot.key(),
  },
  today: {
    open: ({ port, namespace }) => {
      const app = today.initializeApp({ databaseURL: `http://localhost:${port}?ns=${namespace}` }, `app-${Math.random()}`);
      return today.getDatabase(app);
    },
    ref: (root, path) => (path ? today.ref(root, path) : today.ref(root)),
    on: (ref, event, seen, error) => {
      const name = { value: 'onValue', child_added: 'onChildAdded', child_changed: 'onChildChanged', child_removed: 'onChildRemoved' };
      today[name[event]](ref, seen, error);
    },
    off: (ref) => today.off(ref),
    once: (ref) => new Promise((resolve, reject) => today.onValue(ref, resolve, reject, { onlyOnce: true })),
    get: (ref) => today.get(ref),
    call: (ref, name, ...values) => today[name](ref, ...values),
    push: (ref, value) => { const child = today.push(ref); return [child.key, today.set(child, value)]; },
    transaction: async (ref, change) => {
      const { committed, snapshot } = await today.runTransaction(ref, change);
      return [committed, snapshot.val()];
    },
    disconnect: (ref, name, ...values) => today.onDisconnect(ref)[name](...values),
    limited: (ref) => today.query(ref, today.limitToLast(1)),
    stamp: today.serverTimestamp(),
    add: today.increment(2),
    key: (snapshot) => snapshot.key,
  },
};

const resolved = (value, kind) => {
  if (value === '$now') return kind.stamp;
  if (value === '$add') return kind.add;
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, resolved(child, kind)]));
};

const operations = {
  on(client, { path, event, limited }) {
    const { kind, root } = clients.get(client);
    const ref = limited ? kind.limited(kind.ref(root, path)) : kind.ref(root, path);
    const seen = (snapshot) => say(client, event, { path, key: kind.key(snapshot), value: snapshot.val() });
    kind.on(ref, event, seen, (error) => say(client, 'refused', { path, code: error.code ?? null, message: error.message }));
  },
  off: (client, { path }) => { const { kind, root } = clients.get(client); kind.off(kind.ref(root, path)); },
  once(client, { path, id }) {
    const { kind, root } = clients.get(client);
    const found = (snapshot) => say(client, 'once', { id, value: snapshot.val() });
    kind.once(kind.ref(root, path)).then(found, failed(client, id));
  },
  get(client, { path, id }) {
    const { kind, root } = clients.get(client);
    kind.get(kind.ref(root, path)).then((snapshot) => say(client, 'got', { id, value: snapshot.val() }), failed(client, id));
  },
  push(client, { path, value, id }) {
    const { kind, root } = clients.get(client);
    const [key, done] = kind.push(kind.ref(root, path), resolved(value, kind));
    done.then(() => say(client, 'done', { id, key }), failed(client, id));
  },
  transaction(client, { path, from, to, id }) {
    const { kind, root } = clients.get(client);
    const seen = [];
    const change = (value) => { seen.push(value); return value === from ? to : value === null ? null : undefined; };
    const done = ([committed, value]) => say(client, 'transaction', { id, committed, value, seen });
    kind.transaction(kind.ref(root, path), change).then(done, failed(client, id));
  },
  onDisconnect(client, { path, name, value, id }) {
    const { kind, root } = clients.get(client);
    const values = ['remove', 'cancel'].includes(name) ? [] : [resolved(value, kind)];
    kind.disconnect(kind.ref(root, path), name, ...values).then(() => say(client, 'done', { id }), failed(client, id));
  },
  auth(client, { token, id }) {
    const { kind, root } = clients.get(client);
    kind.auth(root, token).then((uid) => say(client, 'authenticated', { id, uid }), failed(client, id));
  },
  offline: (client) => { const { kind, root } = clients.get(client); kind === kinds[2] ? Firebase.goOffline() : today.goOffline(root); },
  online: (client) => { const { kind, root } = clients.get(client); kind === kinds[2] ? Firebase.goOnline() : today.goOnline(root); },
};
for (const name of ['set', 'update', 'remove']) {
  operations[name] = (client, { path, value, id }) => {
    const { kind, root } = clients.get(client);
    const values = name === 'remove' ? [] : [resolved(value, kind)];
    kind.call(kind.ref(root, path), name, ...values).then(() => say(client, 'done', { id }), failed(client, id));
  };
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: name, client, ...fields } = JSON.parse(line);
  if (name === 'open') {
    const kind = kinds[fields.kind];
    clients.set(client, { kind, root: kind.open(fields) });
  } else {
    operations[name](client, fields);
  }
}).on('close', () => process.exit());
