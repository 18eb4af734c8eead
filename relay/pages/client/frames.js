// The frames of the relay.

/** Return a frame as an object; undefined for one that cannot be read. */
export function parseFrame(text) {
  try {
    const frame = JSON.parse(text);
    return isObject(frame) && hasItsFields(frame) ? frame : undefined;
  } catch {
    return undefined;
  }
}

/** Return whether a frame has the fields that are used without a further check. */
function hasItsFields(frame) {
  const { type, id, from, room, peer, resume, observer, members, joined, left, count, changed = [], info = {} } = frame;
  switch (type) {
    case undefined:
      return isText(from);
    case 'welcome':
      if (!(observer ? [id, room] : [id, room, peer, resume]).every(isText)) return false;
      return members === undefined || areMembers(members, count);
    case 'ice':
      return Array.isArray(frame.iceServers);
    case 'presence':
      if (members !== undefined) return areMembers(members, count);
      if (joined === undefined && left === undefined) return Number.isSafeInteger(count);
      return [joined, left, changed].every(areTexts) && isObject(info);
    case 'rules':
      return isObject(frame.rules);
    case 'kicked':
      return isText(peer);
    case 'move':
      return isText(frame.to);
  }
  return true;
}

export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value) {
  return typeof value === 'string';
}

function areTexts(list) {
  return Array.isArray(list) && list.every(isText);
}

function areMembers(list, count) {
  return Array.isArray(list) && list.every((member) => isText(member?.peer)) && Number.isSafeInteger(count);
}
