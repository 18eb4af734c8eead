"""Tells errors that pass from those that stay, for clients that never come back after a response other than 200."""

from typing import Final

from relay.model.errors import JOIN_CLOSES, Refused

_PASSING: Final = frozenset({"peer_taken"})
"""Codes of errors that pass, beside those of overload and those after which clients should reconnect.

A page that comes back without its key finds its peer id held.
"""


def passes(error: Refused) -> bool:
    """Return whether the same request may succeed in a few seconds."""
    closes = JOIN_CLOSES.get(error.code)
    return error.status in (429, 503, 504) or error.code in _PASSING or (closes is not None and closes.reconnect)
