"""XMPP, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.xmpp.errors import XMPP_ERRORS
from relay.gateways.xmpp.settings import XmppSettings

NAME: Final = "xmpp"
"""The name in metrics."""

SOCKET_PATH: Final = "/xmpp-websocket"

BOSH_PATH: Final = "/http-bind"

TOKENS: Final = TokenFields(body="the password of SASL PLAIN")

GATEWAY: Final = Gateway(
    name=NAME,
    title="XMPP",
    protocols=(NAME,),
    prefixes=(SOCKET_PATH, BOSH_PATH),
    tokens={NAME: TOKENS},
    settings=XmppSettings,
    errors=XMPP_ERRORS,
)
