// Ids of a room's messages are "epoch-sequence"; they are compared as numbers.

export const BEFORE_ALL = [0, 0];

/** Read an id; undefined for anything else. */
export function parseId(text) {
  const parts = /^(\d+)-(\d+)$/.exec(text);
  return parts ? [Number(parts[1]), Number(parts[2])] : undefined;
}

export function isNewer(id, other) {
  return id[0] > other[0] || (id[0] === other[0] && id[1] > other[1]);
}

/** Random text of `bytes` bytes that may stand in a URL, a subprotocol and a peer id. */
export function randomText(bytes) {
  const drawn = crypto.getRandomValues(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...drawn)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
