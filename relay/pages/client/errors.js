// Errors and close codes; they are those of the relay's protocol (docs/errors.md).

/**
 * A call failed; `code` and `text` say why.
 *
 * Beside the codes of the protocol, this client has its own: `not_acknowledged` (not in time; `possiblySent` says whether
 * others may have got the message), `queue_full`, `left` (this client has left the room) and `overflow` (a loop over
 * events was too slow).
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

// Close codes after which the client does not reconnect, like all from 4500 on.
const FINAL = new Set([1000, 1002, 1007, 1009]);
export const GOING_AWAY = 1001;
export const NO_CLOSE = 1006;
const TOKEN_EXPIRED = 4009;
export const REPLACED = 4500;
const TOKEN_REFUSED = 4504;
const NOT_ADMITTED = 4505;
const KICKED = 4506;
const ROOM_CLOSED = 4507;

/**
 * How a connection ended.
 *
 * `final`: do not reconnect. `elsewhere`: reconnect soon, another worker is there. `closedByRelay`: a close frame arrived, so
 * everything that was sent before has reached the relay. `expired`: the token was valid for so long. `unidentified`: the
 * relay refuses the token, and so each room of the connection. `ofRoom`: this client may not be in one of the rooms.
 */
export function endOf(code, reason) {
  return {
    code: reason || (code === GOING_AWAY ? 'going_away' : 'lost'),
    text: `the connection was closed (${code}${reason && ` ${reason}`})`,
    final: FINAL.has(code) || code >= REPLACED,
    elsewhere: code === GOING_AWAY,
    replaced: code === REPLACED,
    expired: code === TOKEN_EXPIRED,
    unidentified: code === TOKEN_REFUSED,
    ofRoom: [NOT_ADMITTED, KICKED, ROOM_CLOSED].includes(code),
    closedByRelay: code !== NO_CLOSE,
  };
}

/** Errors after which the client sends an envelope again. */
export const SEND_AGAIN = new Set([
  'unavailable', 'outcome_unknown', 'too_fast', 'out_of_order', 'not_joined', 'replaced', 'internal',
]);

/** Errors after which the client joins a room again. */
export const JOIN_AGAIN = new Set([
  'unavailable', 'outcome_unknown', 'too_fast', 'room_full', 'too_many_places', 'superseded', 'internal',
]);
