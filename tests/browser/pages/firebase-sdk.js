// `connect(kind, polls)` makes a client: firebase 2.4.2 (`2`), or today's SDK (`today`); with `polls`, by long polling alone.
// Its operations have the same names for both. `events` has the events of the listeners.
import { initializeApp } from '@firebase/app';
import * as today from '@firebase/database';

window.events = [];
window.connected = [];

const told = (snapshot, kind, key) => window.events.push([kind, key, snapshot.val()]);

function old(polls) {
  if (polls) Firebase.INTERNAL.forceLongPolling();
  const root = new Firebase(`http://demo.relay.localhost:${window.RELAY}`);
  const done = (run) => new Promise((resolve, reject) => run((error) => (error ? reject(error) : resolve(true))));
  root.child('.info/connected').on('value', (one) => window.connected.push(one.val()));
  return {
    listen(path) {
      for (const kind of ['child_added', 'child_changed', 'child_removed']) {
        root.child(path).on(kind, (child) => told(child, kind, child.key()));
      }
    },
    push: (path, value) => { const child = root.child(path).push(); return done((end) => child.set(value, end)).then(() => child.key()); },
    set: (path, value) => done((end) => root.child(path).set(value, end)),
    update: (path, value) => done((end) => root.child(path).update(value, end)),
    removeAtEnd: (path) => done((end) => root.child(path).onDisconnect().remove(end)),
    once: (path) => new Promise((resolve, reject) => root.child(path).once('value', (one) => resolve(one.val()), reject)),
    claim: (path, name) => new Promise((resolve, reject) => {
      root.child(path).transaction((value) => (value === null ? name : undefined), (error, won) => (error ? reject(error) : resolve(won)));
    }),
  };
}

function present(polls) {
  if (polls) today.forceLongPolling();
  const database = today.getDatabase(initializeApp({ databaseURL: `http://localhost:${window.RELAY}?ns=demo` }));
  const at = (path) => today.ref(database, path);
  today.onValue(at('.info/connected'), (one) => window.connected.push(one.val()));
  return {
    listen(path) {
      for (const kind of ['child_added', 'child_changed', 'child_removed']) {
        const name = { child_added: 'onChildAdded', child_changed: 'onChildChanged', child_removed: 'onChildRemoved' }[kind];
        today[name](at(path), (child) => told(child, kind, child.key));
      }
    },
    push: async (path, value) => { const child = today.push(at(path)); await today.set(child, value); return child.key; },
    set: (path, value) => today.set(at(path), value).then(() => true),
    update: (path, value) => today.update(at(path), value).then(() => true),
    removeAtEnd: (path) => today.onDisconnect(at(path)).remove().then(() => true),
    once: (path) => today.get(at(path)).then((one) => one.val()),
    claim: async (path, name) => (await today.runTransaction(at(path), (value) => (value === null ? name : undefined))).committed,
  };
}

window.connect = (kind, polls = false) => { window.client = kind === 'today' ? present(polls) : old(polls); };
