// What can go wrong; the codes are those of the relay's protocol.

/**
 * Something was not done; `code` and `text` say what.
 *
 * Of this client's own are `not_acknowledged` (not in time: `possiblySent` tells whether others may have got it all the
 * same), `queue_full`, `left` (this client has left the room) and `overflow` (a loop over events was too slow).
 */
export class RelayError extends Error {
  constructor(code, text, possiblySent = false) {
    super(`${code}: ${text}`);
    this.name = 'RelayError';
    this.code = code;
    this.text = text;
    this.possiblySent = possiblySent;
  }
}

// Close codes after which to stay away; those from 4500 on are final as well. See the protocol's table.
const FINAL = new Set([1000, 1002, 1007, 1009]);
const GOING_AWAY = 1001;
const NO_CLOSE = 1006;
export const REPLACED = 4500;

/** How a connection ended: whether to come back, whether at once, since another worker is there; whether it was said. */
export function endOf(code, reason) {
  return {
    code: reason || (code === GOING_AWAY ? 'going_away' : 'lost'),
    text: `the connection was closed (${code}${reason && ` ${reason}`})`,
    final: FINAL.has(code) || code >= REPLACED,
    elsewhere: code === GOING_AWAY,
    replaced: code === REPLACED,
    said: code !== NO_CLOSE,
  };
}

/** Errors after which an envelope is sent again. */
export const AGAIN = new Set([
  'unavailable', 'outcome_unknown', 'too_fast', 'out_of_order', 'not_joined', 'replaced', 'internal',
]);

/** Errors after which a room is tried again. */
export const COME_AGAIN = new Set(['unavailable', 'outcome_unknown', 'too_fast', 'room_full', 'internal']);
