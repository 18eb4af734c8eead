"""The proof that the sender of a notice owned the room which it ends.

A page may get the notice before it knows the owner of the room: it is about to enter, or gets the events that it has
missed. By then the room may have another owner. So the worker of the owner signs the notice with the fleet key.
"""

import base64
from typing import Final

import msgspec

from relay.rooms.worker import Worker

_PURPOSE: Final = "closing a room of RTCMultiConnection"
_SIZE: Final = 16
_VALID_MS: Final = 600_000
"""Milliseconds for which a proof counts: somebody else may have the peer id later."""


def closing_proof(worker: Worker, room: str, owner: str) -> str:
    """Return the proof that a peer owns a room now, as `TIME.MAC`; names are escaped."""
    now = worker.fleet_time()
    mac = worker.fleet_key.sign(_PURPOSE, _statement(room, owner, now), size=_SIZE)
    return f"{now}.{base64.urlsafe_b64encode(mac).decode('ascii')}"


def proves_closing(worker: Worker, room: str, sender: str, proof: str) -> bool:
    """Return whether a proof says that the sender of a notice has owned the room lately."""
    text, _, mac = proof.partition(".")
    if not (text.isascii() and text.isdecimal()) or abs(worker.fleet_time() - int(text)) > _VALID_MS:
        return False
    try:
        given = base64.b64decode(mac, altchars=b"-_", validate=True)
    except ValueError:
        return False
    return worker.fleet_key.verify(_PURPOSE, _statement(room, sender, int(text)), given, size=_SIZE)


def _statement(room: str, owner: str, now: int) -> bytes:
    return msgspec.json.encode([room, owner, now])
