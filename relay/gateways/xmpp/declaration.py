"""XMPP, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.xmpp.errors import XMPP_ERRORS

NAME: Final = "xmpp"
"""The name in metrics."""

SOCKET_PATH: Final = "/xmpp-websocket"

TOKENS: Final = TokenFields(body="the password of SASL PLAIN")

GATEWAY: Final = Gateway(
    name=NAME,
    title="XMPP",
    protocols=(NAME,),
    prefixes=(SOCKET_PATH,),
    tokens={NAME: TOKENS},
    errors=XMPP_ERRORS,
)
