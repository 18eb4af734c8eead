// The frames of the relay.

/** Return a frame as an object; undefined for one that cannot be read. */
export function parseFrame(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame === 'object' && !Array.isArray(frame) && hasItsFields(frame) ? frame : undefined;
  } catch {
    return undefined;
  }
}

/** Return whether a frame has the fields that are used without a further check. */
function hasItsFields({ type, id, peer, resume, observer, members, joined, left, changed = [], info = {} }) {
  switch (type) {
    case 'welcome': {
      const texts = observer ? [id] : [id, peer, resume];
      return texts.every((field) => typeof field === 'string') && (members === undefined || areMembers(members));
    }
    case 'presence':
      if (members !== undefined) return areMembers(members);
      return [joined, left, changed].every(Array.isArray) && typeof info === 'object' && info !== null;
  }
  return true;
}

function areMembers(list) {
  return Array.isArray(list) && list.every((member) => typeof member?.peer === 'string');
}
