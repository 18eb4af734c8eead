"""XHR-Signaling, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields

NAME: Final = "xhrsignaling"

POLL: Final = "/Home/GetData"
POST: Final = "/Home/PostData"
"""The paths of the default room; those of any room are below `/rooms/NAME`."""

TOKENS: Final = TokenFields(bearer=True, query="token")

GATEWAY: Final = Gateway(
    name=NAME,
    title="XHR-Signaling",
    protocols=(NAME,),
    # Without `credentials`: a page of another origin proves its place in the address, and its cookies do not count.
    prefixes=tuple(f"{room}{path}" for room in ("", "/rooms/{room}") for path in (POLL, POST)),
    tokens={NAME: TOKENS},
)
