// Names of rooms and peers: text for people, escaped in frames. The protocol page describes both.

/** Return the escaped name of a text; throws URIError for half a surrogate pair. */
export function escapeName(text) {
  // encodeURIComponent leaves ' alone, and encodes five characters that escaped names have as they are.
  return encodeURIComponent(text).replaceAll("'", '%27').replace(/%(2B|3A|3B|3D|40)/g, (escape) => decodeURIComponent(escape));
}

/** Return the text of an escaped name; anything else as it is. */
export function unescapeName(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
