"""Streams of the changes of a value (`Accept: text/event-stream`): a client that listens, as over a WebSocket."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.base.admission import admit
from relay.gateways.base.http import EVENT_STREAM, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import answer_stream
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.firebase.addresses import read_host
from relay.gateways.firebase.codec import Asked, FirebaseCodec
from relay.gateways.firebase.declaration import NAME
from relay.gateways.firebase.http_session import FirebaseHttpSession
from relay.gateways.firebase.rest_request import ValueRequest
from relay.gateways.firebase.state import state_of
from relay.gateways.firebase.values import plain
from relay.model.codec import Frame
from relay.model.errors import TOKEN_EXPIRED
from relay.model.tree import PRIORITY

_RULES: Final = PollingRules(lost_after=30.0, lost_with_request=True)

_KEEPALIVE: Final = 30.0
"""Seconds after which a stream without changes has an event `keep-alive`."""

_LISTEN: Final = 1
"""The number of the only request of the client."""


class _Body(Struct):
    p: str = ""
    d: Raw = Raw(b"null")
    s: str = ""


class _Message(Struct):
    a: str = ""
    r: int | UnsetType = UNSET
    b: _Body | UnsetType = UNSET


class _Frame(Struct):
    t: str
    d: _Message


_frames: Final = msgspec.json.Decoder(_Frame).decode
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class StreamWriter:
    """Writes the frames of a client that listens at one path as the events of a stream."""

    def __init__(self, request: ValueRequest) -> None:
        self._above = len(_keys(request.places.text(request.place.room, request.place.path)))
        self._export = request.export
        self.cancelled = False
        """Whether the client may not listen any more."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write a part as a response of its own."""
        return HttpBody(self.events(answer), EVENT_STREAM)

    def posted(self, replies: object) -> HttpBody:
        """Write an empty response."""
        return HttpBody(b"")

    def events(self, answer: PollAnswer) -> bytes:
        """Write the text of an answer; without frames, it keeps the stream alive."""
        text = b"".join([self._event(frame) for frame in answer.frames])
        if answer.closed is TOKEN_EXPIRED:
            text += _block(b"auth_revoked", _encode(TOKEN_EXPIRED.text))
        return text if answer.frames or answer.closed is not None else _block(b"keep-alive", b"null")

    def _event(self, frame: Frame) -> bytes:
        if frame.data.startswith(b'{"t":"c"'):
            return b""
        message = _frames(frame.data).d
        body = _Body() if message.b is UNSET else message.b
        match message.a:
            case "d":
                return self._put(body)
            case "m":
                return self._patch(body)
            case "c":
                return self._cancel()
        return self._cancel() if body.s not in {"", "ok"} else b""

    def _put(self, body: _Body) -> bytes:
        # Decoded, as a message of another protocol may have line breaks, which would end the line `data`.
        path, value = self._relative(body.p), _decode(body.d)
        if self._export:
            return _block(b"put", _encode({"path": path, "data": value}))
        if path.endswith(f"/{PRIORITY}"):
            return b""
        return _block(b"put", _encode({"path": path, "data": plain(value)}))

    def _patch(self, body: _Body) -> bytes:
        children: dict[str, Any] = _decode(body.d)
        if not self._export:
            children = {key: plain(child) for key, child in children.items() if not key.endswith(PRIORITY)}
        return _block(b"patch", _encode({"path": self._relative(body.p), "data": children}))

    def _cancel(self) -> bytes:
        self.cancelled = True
        return _block(b"cancel", b"null")

    def _relative(self, path: str) -> str:
        return "/" + "/".join(_keys(path)[self._above :])


class EventStreams:
    """Serves the streams of one worker's clients."""

    def __init__(self) -> None:
        codec = FirebaseCodec()
        self._codecs: CodecPair[Frame] = CodecPair(codec, codec)

    async def serve(self, exchange: HttpExchange, request: ValueRequest, token: str) -> None:
        """Send the value, and each change of it, until the client drops the stream; raises `Refused` before it begins.

        The caller has checked that the client may read the value.
        """
        scope, writer = exchange.scope, StreamWriter(request)
        with admit(scope, NAME) as ticket:
            session = FirebaseHttpSession(state_of(scope).http, self._codecs, ticket, request.places, _RULES, writer)
        ticket.metrics.handshakes += 1
        await session.start(read_host(scope), token, session.id)
        session.execute(Asked(_LISTEN, "q", request.places.text(request.place.room, request.place.path)))

        def sent(_: PollAnswer) -> None:
            if writer.cancelled:
                session.leave()

        await answer_stream(
            exchange, session, session.polling, writer.events, greeting=b"", keepalive=_KEEPALIVE, sent=sent
        )


def _keys(path: str) -> list[str]:
    return [key for key in path.split("/") if key]


def _block(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)
