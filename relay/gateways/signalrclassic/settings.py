"""The settings of the SignalR 2.x gateway."""

import re
from typing import Annotated, Final

from msgspec import Struct

from relay.config.declaring import setting

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
HUB_METHOD: Final = re.compile(rf"({_NAME})\.({_NAME}):({_NAME})", re.ASCII)
"""One method: the hub, its name, and the method of the clients that it calls."""

MAX_METHODS: Final = 64


def _check(text: str) -> None:
    if not HUB_METHOD.fullmatch(text):
        raise ValueError("not HUB.METHOD:CLIENT_METHOD")


class ClassicSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hubs that clients may use."""

    signalr_classic_hubs: Annotated[
        tuple[str, ...],
        setting(
            "Methods of SignalR 2.x hubs beside webRtcHub3.send, comma-separated: HUB.METHOD:CLIENT_METHOD calls that "
            "method of all clients of the room which use the hub",
            consequence="error no_such_hub or no_such_method",
            allowed=f"a list of up to {MAX_METHODS} entries such as chatHub.say:heard",
            check=_check,
            max_length=MAX_METHODS,
        ),
    ] = ()
