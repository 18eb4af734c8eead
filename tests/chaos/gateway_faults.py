"""Faults of clients over HTTP, whose requests reach any worker, and the kinds of clients of other gateways."""

from tests.chaos.arena import Arena
from tests.chaos.fault import SHORT, touched, wait
from tests.chaos.http_members import HttpMember
from tests.chaos.network import Doom

HTTP = ("relay.client", "http-stream", "http-poll")
PEERJS = ("relay.client", "peerjs", "peerjs")
WEBSYNC = ("websync", "websync", "websync")
SIGNALR_CLASSIC = ("signalr-websocket", "signalr-events", "signalr-polling")
SIGNALR_CORE = ("signalr-core-websocket", "signalr-core-events", "signalr-core-polling")
SIP = ("relay.client", "sip", "sip")
XMPP = ("relay.client", "xmpp", "xmpp")
FIREBASE = ("firebase-websocket", "firebase-polling", "firebase-websocket")
BOSH = ("relay.client", "bosh", "bosh")
RMC3 = ("rmc3", "rmc3-old")
"""Rooms of three have owners of both kinds, by turns."""

WAITS = {"publish_timeout": 10.0}
"""Time for signals of pages, which do not send them again, while Redis starts on a busy machine."""

COMES_BACK = {"reconnect_grace": 15.0}
"""The default: browsers come back a second after a loss, and five seconds after each refusal."""

RETRY = 6.0
"""Seconds after which a browser that was refused has come back."""

_ANSWERS = (b'"messages":', b"event: welcome", b'"from":', b'"id":')
"""Parts of responses to a poll, of a stream, and of responses to a post."""


async def cut_answers(arena: Arena) -> None:
    """Connections of clients over HTTP are reset in the middle of a response, or before it."""

    def doom() -> Doom | None:
        if arena.draw.random() < 0.5:
            return None
        return Doom(arena.draw.choice(_ANSWERS), part=arena.draw.choice((0.0, 0.5, 0.9)))

    for post in arena.posts:
        post.front.doom = doom
        post.front.reset()
    for _ in range(4):
        await wait(arena, SHORT)
        for member in arena.draw.sample(list(arena.members.values()), len(arena.members) // 4):
            member.drop()
    for post in arena.posts:
        post.front.doom = lambda: None
        # Of connections that were opened before, some would be cut later.
        post.front.reset()
    arena.over()
    await touched(arena, *(post.front for post in arena.posts))


async def move_clients(arena: Arena) -> None:
    """Clients over HTTP ask another worker, again and again; some streams stay open until the next one is."""
    over_http = [member for member in arena.members.values() if isinstance(member, HttpMember)]
    for _ in range(4):
        for member in arena.draw.sample(over_http, len(over_http) // 2):
            member.move()
        await wait(arena, SHORT)
    arena.over()
    await arena.show("nobody asked another worker", lambda: any(member.reconnects for member in over_http))
