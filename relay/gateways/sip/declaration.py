"""SIP over WebSocket, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.sip.digest import mint
from relay.gateways.sip.errors import SIP_ERRORS
from relay.gateways.sip.settings import SipSettings

NAME: Final = "sip"
"""The name in metrics, and the subprotocol of its WebSockets."""

CHANNEL: Final = NAME
"""The channel of the envelopes that carry SIP messages from member to member."""

TOKENS: Final = TokenFields(body="the header Authorization of REGISTER")

GATEWAY: Final = Gateway(
    name=NAME,
    title="SIP",
    protocols=(NAME,),
    tokens={NAME: TOKENS},
    settings=SipSettings,
    errors=SIP_ERRORS,
    mint=mint,
)
