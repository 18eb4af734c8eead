"""WebSync, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.websync.errors import WEBSYNC_ERRORS
from relay.gateways.websync.settings import WebSyncSettings

NAME: Final = "websync"

PATH: Final = "/websync.ashx"
"""The path of the default room; that of any room is below `/rooms/NAME`."""

CREDENTIALS: Final = True
"""The client sends all requests with credentials: its session id proves the place, and cookies mean nothing."""

TOKENS: Final = TokenFields(bearer=True, query="access_token", body="ext.token of the handshake")
"""In the address not `token`: that is the client's own parameter, a random number."""

GATEWAY: Final = Gateway(
    name=NAME,
    title="WebSync",
    protocols=(NAME,),
    prefixes=(PATH, f"/rooms/{{room}}{PATH}"),
    credentials=CREDENTIALS,
    tokens={NAME: TOKENS},
    settings=WebSyncSettings,
    errors=WEBSYNC_ERRORS,
)
