// Ids of a room's events are "epoch-sequence". Both parts are numbers: as text, "5-10" would be before "5-9".

export const BEFORE_ALL = [0, 0];

/** Read an id; undefined for other text. */
export function parseId(text) {
  const parts = /^(\d+)-(\d+)$/.exec(text);
  return parts ? [Number(parts[1]), Number(parts[2])] : undefined;
}

export function isNewer(id, other) {
  return id[0] > other[0] || (id[0] === other[0] && id[1] > other[1]);
}

/** Random text from so many `bytes`, of characters that URLs, subprotocols and peer ids allow. */
export function randomText(bytes) {
  const drawn = crypto.getRandomValues(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...drawn)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
