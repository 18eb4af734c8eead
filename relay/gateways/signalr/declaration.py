"""ASP.NET Core SignalR, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.signalr.errors import SIGNALR_ERRORS
from relay.gateways.signalr.settings import SignalRSettings

NAME: Final = "signalr"

PATH: Final = "/signalr"
NEGOTIATE: Final = f"{PATH}/negotiate"
"""The paths of the default room; those of any room are below `/rooms/NAME`."""

CREDENTIALS: Final = True
"""Pages may send requests with credentials: clients do so by default.

The connection token in the address proves a connection. The one cookie that is read (`places`) counts as
`gateways.base.cookies` says: never from pages of an origin that only `*` allows.
"""

TOKENS: Final = TokenFields(bearer=True, query="access_token")

GATEWAY: Final = Gateway(
    name=NAME,
    title="SignalR",
    protocols=(NAME,),
    prefixes=(PATH, f"/rooms/{{room}}{PATH}"),
    credentials=CREDENTIALS,
    tokens={NAME: TOKENS},
    settings=SignalRSettings,
    errors=SIGNALR_ERRORS,
)
