"""The error codes of the Firebase protocol that no other gateway uses, and the words of Firebase for those of all."""

from typing import ClassVar, Final

from relay.model.errors import ERRORS, ErrorTable, Refused

FIREBASE_ERRORS: Final[ErrorTable] = {
    "query_unsupported": (
        400,
        "the relay serves no queries (orderBy…, limitTo…, startAt, …); listen at the path, and select in the page",
    ),
    "too_many_listens": (
        409,
        "this connection listens at as many paths as it may (setting subscriptions-per-connection); end some by off()",
    ),
    "too_many_disconnects": (
        409,
        "a connection has at most 32 writes for its end (onDisconnect), with 16 KB in all; cancel some",
    ),
}
"""Error code → (HTTP status, meaning)."""

_PERMISSION: Final = frozenset(
    {
        "bad_room",
        "banned",
        "forbidden",
        "no_such_room",
        "not_granted",
        "password_required",
        "query_unsupported",
        "room_locked",
        "token_required",
        "wrong_peer",
    }
)
"""Codes for which Firebase has one word: the client may not do this."""


class FirebaseRefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **FIREBASE_ERRORS}


def status_of(code: str) -> str:
    """Return the status of an answer with an error; clients make an error code of it, in upper case."""
    if code in _PERMISSION:
        return "permission_denied"
    return "datastale" if code == "stale_value" else code
