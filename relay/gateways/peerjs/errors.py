"""The error codes of the PeerJS protocol that no other gateway uses."""

from typing import ClassVar, Final

from relay.model.errors import ERRORS, ErrorTable, Refused

PEERJS_ERRORS: Final[ErrorTable] = {
    "discovery_off": (401, "the relay does not list the peers of a room to PeerJS clients (setting peerjs-discovery)"),
    "too_many_waiting": (
        409,
        "too many messages of this client wait for peers that are not there; this one was not sent: wait for EXPIRE, "
        "and call again",
    ),
}
"""Error code → (HTTP status, meaning)."""


class PeerJSRefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **PEERJS_ERRORS}
