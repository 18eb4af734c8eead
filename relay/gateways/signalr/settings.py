"""The settings of the SignalR gateway."""

import re
from typing import Annotated, Final

from msgspec import Struct

from relay.config.declaring import count, setting
from relay.model.errors import NotAllowed

_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}(=[A-Za-z_][A-Za-z0-9_.-]{0,99})?", re.ASCII)
OWN_METHODS: Final = frozenset({"joinroom", "leaveroom", "sendto", "presence", "refresh"})
"""The hub methods that are there in any case, in lower case."""

OWN_TARGETS: Final = frozenset(
    {"joined", "left", "changed", "presence", "error", "iceservers", "roomevent", "tokenexpiring", "refreshed"}
)
"""The client methods that only the relay calls, in lower case."""


def _check_method(text: str) -> None:
    if not _METHOD.fullmatch(text):
        raise NotAllowed("a method is METHOD or METHOD=CLIENTMETHOD: letters, digits and _ . -")
    method, _, target = text.lower().partition("=")
    if method in OWN_METHODS:
        raise NotAllowed(f"the hub has the method {method} already")
    if target in OWN_TARGETS:
        raise NotAllowed(f"only the relay calls the client method {target}")


class SignalRSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hub methods that publish, the client method that messages call, and how many clients wait for their place."""

    signalr_methods: Annotated[
        tuple[str, ...],
        setting(
            "Hub methods of SignalR clients that send to the room, comma-separated: METHOD sends one argument as an "
            "envelope, METHOD=CLIENTMETHOD has this client method called with the same arguments",
            consequence="error unknown_method",
            allowed="a list of METHOD or METHOD=CLIENTMETHOD",
            check=_check_method,
        ),
    ] = ("Send",)
    signalr_target: Annotated[
        str,
        setting(
            "Client method of SignalR clients that messages call, with the envelope as argument",
            pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$",
            allowed="a letter or _, then letters, digits and _ . -",
        ),
    ] = "onMessageReceived"
    signalr_waiting: Annotated[
        int,
        count(
            "Negotiations of SignalR clients that wait at a time, on one worker, until the place is held to which the "
            "cookie leads",
            consequence="a new place",
        ),
    ] = 1000
    signalr_waiting_per_address: Annotated[int, count("The same, from one address", consequence="a new place")] = 100
