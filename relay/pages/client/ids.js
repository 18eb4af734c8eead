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
  return base64url(crypto.getRandomValues(new Uint8Array(bytes)));
}

/** Bytes as text of the same characters. */
export function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** The bytes of such text; throws for other text. */
export function bytesOf(text) {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
}
