"""Plain HTTP, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway, TokenFields

NAME: Final = "plainhttp"

EVENTS: Final = "/events"
MESSAGES: Final = "/messages"
LEAVE: Final = "/leave"
"""The paths below `/rooms/NAME`: the stream of events, posts and polls, and the goodbye of a closing page."""

CREDENTIALS: Final = True
"""Pages may send requests with credentials: the resume key in the URL proves the place, and cookies mean nothing."""

TOKENS: Final = TokenFields(bearer=True, query="token")

GATEWAY: Final = Gateway(
    name=NAME,
    title="Plain HTTP",
    protocols=(NAME,),
    prefixes=tuple(f"/rooms/{{room}}{path}" for path in (EVENTS, MESSAGES, LEAVE)),
    credentials=CREDENTIALS,
    tokens={NAME: TOKENS},
)
