"""Replies by which a node of a cluster says that a command is to be sent elsewhere, or again."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import hiredis

from relay.config.redis_url import Address

_AGAIN: Final = frozenset({"TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY"})
"""Codes of a node that cannot serve a slot for a moment: it moves, or its master changes."""

_PARTS: Final = 3

HANDED_BACK: Final = object()
"""Stands for the reply to a command that was never sent, as its node does not have the slot any more."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The next step: ask another node (`moved` or `ask`) at its announced address `target`, or try `again`.

    A target without a host is on the same host as the node that answered. `text` is the reply, for operators.
    """

    kind: Literal["moved", "ask", "again"]
    target: Address | None = None
    text: str = ""


def read_redirect(reply: Any) -> Redirect | None:
    """Return the redirection in a reply; None if the reply is none."""
    if reply is HANDED_BACK:
        return Redirect("moved")
    if not isinstance(reply, hiredis.ReplyError):
        return None
    text = str(reply)
    code, *parts = text.split(" ", _PARTS)
    if code in {"MOVED", "ASK"} and len(parts) >= 2:
        host, _, port = parts[1].rpartition(":")
        target = (host.strip("[]"), int(port)) if port.isdecimal() else None
        return Redirect("moved" if code == "MOVED" else "ask", target, text)
    # An error from inside a script has had an effect, perhaps.
    if code in _AGAIN and " script: " not in text:
        return Redirect("again", text=text)
    return None
