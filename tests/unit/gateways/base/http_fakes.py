"""A protocol of the tests that uses all that HTTP sessions offer, and requests to it without a server.

`POST /begin` joins a room. `GET /stream` is an event stream. `POST /send` takes JSON lines, whose replies are in its
response. `GET /poll?cursor=N` is a long poll, in which a second one releases the first. `DELETE /end` says goodbye.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.base.http import JSON, GatewayResponses, HttpBody, HttpExchange
from relay.gateways.base.http_sessions import (
    HttpSession,
    HttpSessions,
    PostedRequest,
    answer_poll,
    answer_post,
    answer_stream,
)
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.polling_rules import Overlap, PollAnswer, PollingRules
from relay.gateways.base.replies import Reply
from relay.gateways.native.codec import NativeCodec
from relay.http_request import read_body, read_query
from relay.model.codec import NOTHING, Frame
from relay.model.errors import Refused
from relay.model.events import Ack, Event, Failure
from relay.rooms.connection import Transfer
from relay.rooms.held_response import HOLD_EXTENSION
from relay.rooms.worker import Worker

RULES = PollingRules(overlap=Overlap.RELEASE_OLDER, posts=4, repeated_answers=1, lost_after=60)


class Codec(NativeCodec):
    """Native frames, of which acks and errors are replies."""

    def __init__(self) -> None:
        super().__init__()
        self.key = "http-test"

    def encode(self, event: Event) -> Frame:
        frame = super().encode(event)
        keyed = isinstance(event, Ack | Failure) and event.key
        return Reply(frame.data, keyed) if keyed and frame is not NOTHING else frame


class Dialect:
    """Lines of JSON."""

    def read(self, body: bytes, media_type: bytes) -> Sequence[PostedRequest[Frame]]:
        if media_type != b"application/json":
            raise Refused("bad_content_type")
        lines = body.split(b"\n")
        return [PostedRequest(Frame(line), msgspec.json.decode(line).get("key", "")) for line in lines]

    def answer(self, answer: PollAnswer) -> HttpBody:
        lines = [frame.data for frame in answer.frames]
        if answer.closed is not None:
            lines.append(b'{"closed":"%b"}' % answer.closed.name.encode())
        return HttpBody(b"\n".join(lines), JSON, 204 if answer.superseded else 200)

    def posted(self, replies: Sequence[Frame]) -> HttpBody:
        return HttpBody(b"\n".join([reply.data for reply in replies]), JSON)

    def events(self, answer: PollAnswer) -> bytes:
        events = [b"data: %b\n\n" % frame.data for frame in answer.frames]
        if answer.closed is not None:
            events.append(b"event: closed\ndata: %b\n\n" % answer.closed.name.encode())
        return b"".join(events) or b":\n\n"


@dataclass
class Response:
    """The response to a request; `status` is 0 until it begins, and `ended` is set when it is complete."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.body.split(b"\n") if line]

    async def until(self, text: bytes) -> None:
        """Wait until the body has this text."""
        async with asyncio.timeout(5):
            while text not in self.body:
                self.changed.clear()
                await self.changed.wait()


class Request:
    """A request in the making: `drop` ends it from the client's side, `may_send` is set while the client reads."""

    def __init__(self, body: bytes = b"", *, complete: bool = True) -> None:
        self.response = Response()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": not complete})

    def more(self, body: bytes) -> None:
        """Send a further part of the body, which is not the last one."""
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": True})

    def drop(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        return await self._messages.get()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.response.status = message["status"]
            self.response.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self.may_send.wait()
            self.response.body += message.get("body", b"")
            self.response.ended = not message.get("more_body", False)
        self.response.changed.set()


class Held:
    """A response that the server has handed over, to the same request; `drop` ends it from the client's side.

    With `ends_when_answered`, the connection ends when the wait for an answer is over, which is not written yet.
    """

    def __init__(self, request: Request, *, ends_when_answered: bool = False) -> None:
        self._request = request
        self._ends_when_answered = ends_when_answered
        self.dropped = self.aborted = False
        self.callback: Callable[[], object] | None = None

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if not self.dropped:
            await self._request.send(message)

    def transfer(self) -> Transfer | None:
        return None

    def when_dropped(self, callback: Callable[[], object] | None) -> None:
        self.callback = callback
        if callback is None:
            self.dropped = self._ends_when_answered

    def abort(self) -> None:
        self.aborted = not self._request.response.ended

    def drop(self) -> None:
        self.dropped = True
        assert self.callback is not None
        self.callback()


def scope(method: str, target: str, state: dict[str, Any], headers: dict[str, str] | None = None) -> Scope:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("10.0.0.1", 1000),
        "state": state,
    }


def hold(scope: Scope, request: Request, *, ends_when_answered: bool = False) -> Held:
    """Let the server hand the response to a request over."""
    response = Held(request, ends_when_answered=ends_when_answered)
    scope["extensions"] = {HOLD_EXTENSION: lambda: response}
    return response


class Elsewhere:
    """Another worker, which has the session `elsewhere` and answers with the body of the request."""

    async def forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session_id: str,
        *,
        limit: int,
        body: bytes | None = None,
        arrived: Callable[[int], None] | None = None,
    ) -> bool:
        if session_id != "elsewhere":
            return False
        body = await read_body(receive, limit) if body is None else body
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return True


class Gateway:
    """The gateway of the protocol above, on one worker."""

    def __init__(self, worker: Worker, rules: PollingRules = RULES) -> None:
        self.worker = worker
        self.rules = rules
        self.state = {"worker": worker, FORWARDER: Elsewhere()}
        self.sessions: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        methods = ("GET", "POST", "DELETE")
        self._responses = GatewayResponses(worker.settings, session_header="x-session", methods=methods)
        self._codecs: CodecPair[Frame] = CodecPair(Codec(), Codec())
        self.dialect = Dialect()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = HttpExchange(scope, receive, send, self._responses)
        try:
            await self._serve(exchange)
        except Refused as error:
            await exchange.respond(HttpBody(msgspec.json.encode(error.body), JSON, error.status))

    async def _serve(self, exchange: HttpExchange) -> None:
        query = dict(read_query(exchange.scope))
        if exchange.scope["path"] == "/begin":
            session = self._begin(admit(exchange.scope, "test"))
            await session.enter(partial(JoinRequest, "room", query.get("peer") or self.worker.random.peer_id()))
            await exchange.respond(HttpBody(session.id.encode()), session_id=session.id)
            return
        path = exchange.scope["path"]
        found = await self.sessions.find(
            exchange, query.get("id", ""), polls=path == "/poll", limit=1000, token=query.get("cursor", "")
        )
        if found is None:
            return
        if path == "/poll":
            hold = float(query["wait"]) if "wait" in query else None
            await answer_poll(exchange, found, found.polling, query.get("cursor", ""), hold=hold)
        elif path == "/stream":
            keepalive = float(query.get("keepalive", 60))
            await answer_stream(exchange, found, found.polling, self.dialect.events, keepalive=keepalive)
        elif path == "/end":
            found.leave()
            await exchange.respond(HttpBody(b""))
        else:
            await answer_post(exchange, found, found.polling, 1000)

    def _begin(self, ticket: Any) -> HttpSession[Frame]:
        return HttpSession(self.sessions, self._codecs, ticket, dialect=self.dialect, rules=self.rules)

    # Requests.

    def start(self, method: str, target: str, request: Request, **headers: str) -> "asyncio.Task[None]":
        """Begin a request; the task ends with it."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.create_task(self(scope(method, target, self.state, fields), request.receive, request.send))

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Make a request and wait for its response."""
        request = Request(body)
        headers.setdefault("content_type", "application/json")
        async with asyncio.timeout(5):
            await self.start(method, target, request, **headers)
        return request.response

    async def begin(self, peer: str = "") -> tuple[str, HttpSession[Frame]]:
        """Begin a session; returns its id and itself."""
        session_id = (await self.ask("POST", f"/begin?peer={peer}")).body.decode()
        session = self.sessions.get(session_id)
        assert session is not None
        return session_id, session


@asynccontextmanager
async def gateway(rules: PollingRules = RULES, **settings: Any) -> AsyncIterator[Gateway]:
    async with Worker(Settings(**settings)) as worker:
        yield Gateway(worker, rules)
