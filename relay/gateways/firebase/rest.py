"""The REST interface: `GET`, `PUT`, `POST`, `PATCH` and `DELETE` of `/PATH.json`, and streams of its changes."""

import asyncio
import time
from functools import partial
from typing import Any, Final

import msgspec
from starlette.routing import Match, Route
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.guard import Guard
from relay.gateways.base.http import JSON, Headers, HttpBody, HttpExchange
from relay.gateways.base.post_rates import wait_for_turn
from relay.gateways.firebase.access import check_access
from relay.gateways.firebase.changes import merge_change, set_change
from relay.gateways.firebase.declaration import NAME, REST, TOKENS
from relay.gateways.firebase.errors import status_of
from relay.gateways.firebase.event_streams import EventStreams
from relay.gateways.firebase.places import TreePlace
from relay.gateways.firebase.push_ids import new_push_id
from relay.gateways.firebase.rest_request import METHODS, ValueRequest, read_request, read_value
from relay.gateways.firebase.values import plain, shallow, value_of
from relay.gateways.firebase.writing import write_value
from relay.http_request import counted_client
from relay.identity.grants import Grants, Right
from relay.model.errors import Refused, RelayError
from relay.model.names import CORE_WORDS
from relay.model.tree import contents_of, hash_of, join
from relay.model.tree_changes import Expected, TreeChange, TreePart
from relay.rooms.worker import Worker

_LONGEST_WAIT: Final = 5.0
"""Seconds that a client waits at most for the bytes that it reads."""

_NO_ETAG: Final = "null_etag"


class ValueRoute(Route):
    """The route of all paths that end with `.json`, but for those of the relay itself.

    If the relay serves a folder of files too (`named_only`), a request for a value names the namespace (`ns`).
    """

    def __init__(self, endpoint: GatewayEndpoint, *, named_only: bool) -> None:
        super().__init__(REST, endpoint)
        self._named_only = named_only

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path, and perhaps the query."""
        found, child = super().matches(scope)
        if found is Match.FULL and scope["path"].split("/")[1] in CORE_WORDS:
            return Match.NONE, {}
        if found is Match.FULL and self._named_only and b"ns=" not in scope["query_string"]:
            return Match.NONE, {}
        return found, child


class ValueEndpoint(GatewayEndpoint):
    """The ASGI application of values."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=METHODS)
        self._settings = settings
        self._streams = EventStreams()

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Read or change a value, or stream its changes; raises `Refused`."""
        scope = exchange.scope
        request = read_request(scope, self._settings)
        worker: Worker = scope["state"]["worker"]
        address, token = counted_client(scope), read_token(scope, TOKENS)
        try:
            grants = await worker.identify(token, address)
            caller = _Caller(worker, grants, address, request)
            if request.streams:
                await caller.check(Right.JOIN)
                await self._streams.serve(exchange, request, token)
            else:
                await self._respond(exchange, request, caller)
        except Refused:
            raise
        except RelayError as error:
            # An endpoint has no answer of its own for an error that is not `Refused`.
            raise Refused(error.code, error.text, **error.detail) from None

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error as Firebase does, beside the relay's own fields."""
        text = "Permission denied" if status_of(error.code) == "permission_denied" else error.text
        return HttpBody(
            msgspec.json.encode({"error": text, "code": error.code, "text": error.text}), JSON, error.status
        )

    async def _respond(self, exchange: HttpExchange, request: ValueRequest, caller: "_Caller") -> None:
        headers: Headers = ()
        if request.method == "GET":
            value, etag = await caller.read()
        else:
            if request.wants_etag:
                await caller.check(Right.JOIN)
            body = None
            if request.method != "DELETE":
                body = await read_value(exchange)
            try:
                value, etag = await caller.write(body), ""
            except _Changed as changed:
                await _send(exchange, request, changed.value, _etag(changed.etag), 412)
                return
        if request.wants_etag:
            headers = _etag(etag or await caller.new_etag())
        await _send(exchange, request, value, headers)


async def _send(exchange: HttpExchange, request: ValueRequest, value: Any, headers: Headers, status: int = 200) -> None:
    if request.silent and status == 200:
        await exchange.respond(HttpBody(b"", JSON, 204), headers=headers)
        return
    text = msgspec.json.encode(value)
    if request.pretty:
        text = msgspec.json.format(text, indent=2)
    await exchange.respond(HttpBody(text, JSON, status), headers=headers)


def _etag(etag: str) -> Headers:
    return ((b"etag", etag.encode("ascii")), (b"access-control-expose-headers", b"ETag"))


class _Changed(Exception):
    """The value is not the one that the client has named."""

    def __init__(self, value: Any, etag: str) -> None:
        super().__init__(etag)
        self.value = value
        self.etag = etag


class _Caller:
    """The client of one request, which is no member of the room: `grants` are those of its token."""

    def __init__(self, worker: Worker, grants: Grants | None, address: str, request: ValueRequest) -> None:
        self.worker = worker
        self._grants = grants
        self._guard = None if grants is None else Guard(grants)
        self._address = address
        self._request = request
        # The value after the client's write, as of that write.
        self._written: TreePart | None = None

    async def check(self, right: Right) -> None:
        """Raise `Refused` if the client does not have this right in the room, or may not enter it."""
        await check_access(self.worker, self._guard, right, self._request.place.room, is_member=False)

    async def read(self) -> tuple[Any, str]:
        """Return the value that the client reads, and its ETag."""
        request = self._request
        part = await self._part()
        value = value_of(part, request.place)
        etag = hash_of(value) or _NO_ETAG
        if request.shallow:
            return shallow(value), etag
        return value if request.export else plain(value), etag

    async def new_etag(self) -> str:
        """Return the ETag of the value as the client's write has left it, which others may have changed since."""
        # A write that changes nothing leaves `_written` empty.
        part = self._written or await self._part()
        return hash_of(value_of(part, self._request.place)) or _NO_ETAG

    async def _pay(self, size: int) -> None:
        """Count bytes against the client's rates; returns when it may have them."""
        pace = self.worker.admissions.pace_at(self._address)
        await asyncio.sleep(min(pace.count(size, least=0), _LONGEST_WAIT))
        pace.end()

    async def write(self, value: Any) -> Any:
        """Write a value, and return the content of the response; raises `_Changed`."""
        request = self._request
        await self.check(Right.PUBLISH)
        place, places = request.place, request.places
        match request.method:
            case "PATCH":
                await write_value(place, value, partial(merge_change, place), self._part, self._change)
                return value
            case "POST":
                name = new_push_id(time.time(), self.worker.random.secret(9))
                place = TreePlace(place.room, join(place.path, name))
                make = partial(set_change, places, place, shareable=True)
                await write_value(place, value, make, self._part, self._change)
                return {"name": name}
        make = partial(set_change, places, place, shareable=True)
        if request.condition:
            await self._write_if_same(make(value))
        else:
            await write_value(place, value, make, self._part, self._change)
        return value

    async def _write_if_same(self, change: TreeChange) -> None:
        place = self._request.place
        part = await self._part()
        value = value_of(part, place)
        if (hash_of(value) or _NO_ETAG) == self._request.condition:
            try:
                await self._change(change, Expected(place.path, contents_of(part.leaves)))
            except Refused as error:
                if error.code != "stale_value":
                    raise
                value = value_of(await self._part(), place)
            else:
                return
        raise _Changed(plain(value), hash_of(value) or _NO_ETAG)

    async def _part(self) -> TreePart:
        """Return the part of the tree that the request names; its bytes count against the client's rates."""
        place = self._request.place
        await self.check(Right.JOIN)
        part = await self.worker.trees.read(place.room, place.path)
        await self._pay(_size(part))
        return part

    async def _change(self, change: TreeChange, expected: Expected | None) -> None:
        if not change.writes:
            return
        pace = self.worker.admissions.pace_at(self._address)
        await wait_for_turn(pace, change.size)
        pace.end()
        await self._pay(change.work)
        place = self._request.place
        receipt = await self.worker.change_tree(
            place.room,
            change,
            grants=self._grants,
            address=self._address,
            expected=expected,
            reads=place.path if self._request.wants_etag else None,
        )
        self._written = receipt.part
        if receipt.part is not None:
            await self._pay(_size(receipt.part))


def _size(part: TreePart) -> int:
    return sum([len(path) + len(leaf) for path, leaf in part.leaves])
