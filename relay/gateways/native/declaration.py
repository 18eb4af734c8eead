"""The native protocol, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields

NAME: Final = "native"

CONNECT: Final = "/connect"
FRAMES: Final = "/frames"
"""The paths below `/rooms/NAME` for clients without WebSockets: the stream of the relay's frames, and their own."""

TOKENS: Final = TokenFields(bearer=True, subprotocol=True, query="token")

GATEWAY: Final = Gateway(
    name=NAME,
    title="The native protocol",
    protocols=(NAME,),
    prefixes=tuple(f"/rooms/{{room}}{path}" for path in (CONNECT, FRAMES)),
    websockets=("/", "/rooms/{room}"),
    tokens={NAME: TOKENS},
)
