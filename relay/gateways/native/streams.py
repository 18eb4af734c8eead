"""The native protocol over HTTP, for clients whose network lets no WebSocket through.

`POST /rooms/NAME/connect` opens a connection. Its query is that of a WebSocket; its body has the subprotocols that a
WebSocket would offer, so that no secret is in the address. An empty NAME stands for the default room. The response is
an event stream with the relay's frames as data, after an event `session` with the session's id. The last event of a
connection that the relay closes is `close`, with the code and the reason.

`POST /rooms/NAME/frames?session=ID` brings frames of the client, one a line, and may reach any worker. With
`close=CODE` it ends the connection, as a close frame with this code does.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import EVENT_STREAM, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import (
    HttpSession,
    HttpSessions,
    PostedRequest,
    answer_post,
    answer_stream,
)
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.declaration import NAME
from relay.gateways.native.gateway import read_request, wants_previous
from relay.http_request import read_query
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.errors import GOODBYE_CODES, Refused
from relay.rooms.worker import Worker

STATE: Final = "native_streams"

MAX_FRAMES: Final = 100
"""Frames in one post."""

_MAX_OFFERED: Final = 16_384
"""Bytes of the subprotocols that a client offers."""

_RULES: Final = PollingRules(lost_after=2.0)
"""A client whose stream has ended is lost two seconds later.

A page that is closed says goodbye by a post, which may arrive after the end of its stream.
"""

_KEEPALIVE: Final = b":\n\n"


class StreamCodec(NativeCodec):
    """A `NativeCodec` whose frames are events of a stream."""

    def __init__(self, *, tagged: bool = False) -> None:
        super().__init__(tagged=tagged)
        self.key += "+stream"

    def encode(self, event: events.Event) -> Frame:
        """Write an event; a frame of several lines has each of them as data."""
        data = super().encode(event).data
        if b"\n" in data or b"\r" in data:
            # White space between tokens, as strings in JSON have no line ends.
            data = b"\ndata: ".join(data.splitlines())
        return Frame(b"data: %b\n\n" % data)


class StreamSession(HttpSession[Frame]):
    """The session of a client of the native protocol that has only HTTP. It has no topics."""

    __slots__ = ()

    def _execute(self, command: Command) -> None:
        if isinstance(command, GatewayCommand):
            raise Refused("bad_command", "topics need a WebSocket")
        super()._execute(command)


class Streams(HttpSessions[StreamSession]):
    """The sessions of one worker."""


class FramesDialect:
    """Reads frames, one a line, and writes the parts of a stream."""

    def read(self, body: bytes, media_type: bytes) -> Sequence[PostedRequest[Frame]]:
        """Read the frames of a post; raises `Refused` (`bad_body`) if there are none or too many, or not in UTF-8."""
        lines = [line for line in body.split(b"\n", MAX_FRAMES) if line]
        if not 1 <= len(lines) <= MAX_FRAMES:
            raise Refused("bad_body", f"a post has 1 to {MAX_FRAMES} frames, each on a line of its own")
        try:
            # The codec takes frames for UTF-8, as those of a WebSocket are, and others get them byte for byte.
            body.decode()
        except UnicodeDecodeError:
            raise Refused("bad_body", "a post is UTF-8") from None
        return [PostedRequest(Frame(line)) for line in lines]

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write a part as a response of its own."""
        return HttpBody(self.events(answer), EVENT_STREAM)

    def posted(self, replies: object) -> HttpBody:
        """Write an empty response: all answers are in the stream."""
        return HttpBody(b"", status=204)

    def events(self, answer: PollAnswer) -> bytes:
        """Write the text of an answer."""
        text = b"".join([frame.data for frame in answer.frames])
        if answer.closed is not None:
            return text + _event("close", {"code": answer.closed.code, "reason": answer.closed.name})
        return text or _KEEPALIVE


class ConnectEndpoint(GatewayEndpoint):
    """The ASGI application that opens connections."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",))
        self._default_room = settings.default_room
        self._codecs: CodecPair[Frame] = CodecPair(StreamCodec(), StreamCodec(tagged=True))
        self._dialect = FramesDialect()

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Join the room, or observe it, and stream until the client or the relay ends the connection."""
        if exchange.method != "POST":
            raise Refused("bad_method")
        body = await exchange.read_body(_MAX_OFFERED)
        if body is None:
            return
        scope = _handshake(exchange.scope, body)
        if wants_previous(scope):
            raise Refused("bad_query", "previous needs a WebSocket")
        worker: Worker = scope["state"]["worker"]
        with admit(scope, NAME) as ticket:
            session = StreamSession(scope["state"][STATE], self._codecs, ticket, dialect=self._dialect, rules=_RULES)
        ticket.metrics.handshakes += 1
        worker.spawn(session.enter(partial(read_request, scope, self._default_room)))
        greeting = b":\n\n" + _event("session", {"session": session.id})
        await answer_stream(exchange, session, session.polling, self._dialect.events, greeting=greeting)


class FramesEndpoint(GatewayEndpoint):
    """The ASGI application of posts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",))
        self._limit = settings.max_request

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Serve frames, or the end of a connection."""
        if exchange.method != "POST":
            raise Refused("bad_method")
        query = QueryParams(read_query(exchange.scope))
        code = _close_code(query.get("close", ""))
        streams: Streams = exchange.scope["state"][STATE]
        session = await streams.find(exchange, query.get("session", ""), polls=False, limit=self._limit)
        if session is None:
            return
        if code is None:
            await answer_post(exchange, session, session.polling, self._limit)
            return
        if code in GOODBYE_CODES:
            session.leave()
        else:
            session.lost()
        await exchange.respond(HttpBody(b"", status=204))


def _handshake(scope: Scope, offered: bytes) -> Scope:
    """Return the scope of the WebSocket handshake in whose place a request has come; raises `Refused` (`bad_body`)."""
    try:
        names = offered.decode("ascii").split(",")
    except UnicodeDecodeError:
        raise Refused("bad_body", "the body has subprotocols, separated by commas") from None
    # An empty segment is no name of a room, and here the one of the default room.
    path_params = {name: value for name, value in scope["path_params"].items() if value}
    return {**scope, "path_params": path_params, "subprotocols": [name.strip() for name in names]}


def _close_code(text: str) -> int | None:
    """Return the close code of a query, None for a request that closes nothing."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) == 4):
        raise Refused("bad_query", "close is a close code of four digits")
    return int(text)


def _event(name: str, fields: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), msgspec.json.encode(fields))
