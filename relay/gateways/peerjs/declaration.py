"""PeerJS, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.peerjs.errors import PEERJS_ERRORS
from relay.gateways.peerjs.settings import PeerJSSettings

NAME: Final = "peerjs"
"""The name in metrics, and the last part of the sockets' path."""

DEFAULT_KEY: Final = "peerjs"
"""The key that PeerJS sends where the page names none: it means neither a room nor a token."""

TOKENS: Final = TokenFields(bearer=True, query="key")
"""If auth is on, the key of a `Peer` is its token. PeerJS has no place for it but the address."""

GATEWAY: Final = Gateway(
    name=NAME,
    title="PeerJS",
    protocols=(NAME,),
    prefixes=(
        f"/{NAME}",
        "/{key}/id",
        "/{key}/peers",
        f"/rooms/{{room}}/{NAME}",
        "/rooms/{room}/{key}/id",
        "/rooms/{room}/{key}/peers",
    ),
    tokens={NAME: TOKENS},
    settings=PeerJSSettings,
    errors=PEERJS_ERRORS,
)
