"""The proof that the sender of a notice owned the room which it ends.

A page may get the notice before it knows the owner of the room: it is about to enter, or gets the events that it has
missed. By then the room may have another owner. So the worker of the owner signs the notice with the fleet key.

All members see the proof. It counts only as long as a member may be away, and only for the room as it was opened then:
a client that takes the owner's peer id later cannot end a room of this name that somebody else has opened.
"""

import base64
from typing import Final

import msgspec

from relay.rooms.worker import Worker

_PURPOSE: Final = "closing a room of RTCMultiConnection"
_SIZE: Final = 16
_MARGIN: Final = 60.0
"""Seconds beyond the grace time: a lost connection is noticed later, and clocks differ."""


def closing_proof(worker: Worker, room: str, owner: str, opening: str) -> str:
    """Return the proof that a peer owns a room now, as `TIME.OPENING.MAC`; names are escaped.

    `opening` is the mark that the room got when it was opened, letters and digits.
    """
    now = worker.fleet_time()
    mac = worker.fleet_key.sign(_PURPOSE, _statement(room, owner, opening, now), size=_SIZE)
    return f"{now}.{opening}.{base64.urlsafe_b64encode(mac).decode('ascii')}"


def proved_opening(worker: Worker, room: str, sender: str, proof: str) -> str | None:
    """Return the mark of the opening of a room that the sender of a notice has owned lately; None without a proof."""
    text, _, rest = proof.partition(".")
    opening, _, mac = rest.partition(".")
    most = 1000 * (worker.settings.reconnect_grace + _MARGIN)
    if not (text.isascii() and text.isdecimal()) or abs(worker.fleet_time() - int(text)) > most:
        return None
    try:
        given = base64.b64decode(mac, altchars=b"-_", validate=True)
    except ValueError:
        return None
    statement = _statement(room, sender, opening, int(text))
    return opening if worker.fleet_key.verify(_PURPOSE, statement, given, size=_SIZE) else None


def _statement(room: str, owner: str, opening: str, now: int) -> bytes:
    return msgspec.json.encode([room, owner, opening, now])
