"""SignalR 2.x, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields
from relay.gateways.signalrclassic.errors import CLASSIC_ERRORS
from relay.gateways.signalrclassic.settings import ClassicSettings

NAME: Final = "signalrclassic"
PROTOCOL: Final = "signalr-classic"
"""The name in metrics."""

PATH: Final = "/signalr"
HUBS: Final = "/hubs"
SCRIPTS: Final = (HUBS, "/js")
"""The paths of the proxies' script, below `PATH`."""

NEGOTIATE: Final = "/negotiate"
ACTIONS: Final = ("/start", "/connect", "/reconnect", "/poll", "/send", "/abort", "/ping")
"""The last segments of requests: below `PATH`, and below the script, where pages of the original have their `url`."""

CREDENTIALS: Final = True
"""Pages may send requests with credentials: the connection token in the URL proves the place, and no cookie is read."""

TOKENS: Final = TokenFields(bearer=True, query="token")

GATEWAY: Final = Gateway(
    name=NAME,
    title="SignalR 2.x",
    protocols=(PROTOCOL,),
    prefixes=tuple(
        f"{room}{PATH}{action}" for room in ("", "/rooms/{room}") for action in (*SCRIPTS, NEGOTIATE, *ACTIONS)
    ),
    credentials=CREDENTIALS,
    tokens={PROTOCOL: TOKENS},
    settings=ClassicSettings,
    errors=CLASSIC_ERRORS,
)
