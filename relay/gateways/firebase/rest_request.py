"""A request of the REST interface: the method, the place that it is about, and how its response is written."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.http import EVENT_STREAM, HttpExchange
from relay.gateways.firebase.addresses import places_of, read_host
from relay.gateways.firebase.errors import FirebaseRefused
from relay.gateways.firebase.places import Places, TreePlace
from relay.http_request import counted_client, header, read_query
from relay.model.errors import BadFrame, Refused
from relay.model.explanations import explain
from relay.model.json_text import check_nesting, read_leniently
from relay.model.names import percent_decoded
from relay.paths import raw_path
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

METHODS: Final = ("GET", "PUT", "POST", "PATCH", "DELETE")
_QUERIES: Final = frozenset(
    {"orderBy", "limitToFirst", "limitToLast", "startAt", "startAfter", "endAt", "endBefore", "equalTo"}
)
_PRINTS: Final = frozenset({"", "pretty", "silent"})

_decode: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class ValueRequest:
    """The parts of a request; `pretty`, `silent`, `shallow` and `export` are of its query.

    `condition` is the ETag that the value must have ("" for any), and `wants_etag` says whether the response names it.
    """

    method: str
    places: Places
    place: TreePlace
    streams: bool
    pretty: bool
    silent: bool
    shallow: bool
    export: bool
    condition: str
    wants_etag: bool


def read_request(scope: Scope, settings: Settings) -> ValueRequest:
    """Read everything but the body; raises `Refused` (`bad_method`, `bad_query`, `bad_path`, `bad_room`, …)."""
    query = dict(read_query(scope))
    places = places_of(settings, query, read_host(scope))
    if not _QUERIES.isdisjoint(query):
        raise FirebaseRefused("query_unsupported")
    printing = query.get("print", "")
    if printing not in _PRINTS:
        raise Refused("bad_query", "print is pretty or silent")
    method = scope["method"]
    if method == "POST":
        method = (header(scope, b"x-http-method-override") or method).upper()
    if method not in METHODS:
        raise Refused("bad_method")
    text = percent_decoded(raw_path(scope).removesuffix(".json"))
    streams = method == "GET" and EVENT_STREAM.decode() in (header(scope, b"accept") or "")
    condition = header(scope, b"if-match") or ""
    if condition and method not in {"PUT", "DELETE"}:
        raise Refused("bad_query", "if-match is for PUT and DELETE")
    return ValueRequest(
        method,
        places,
        places.find(text),
        streams,
        pretty=printing == "pretty",
        silent=printing == "silent",
        shallow=query.get("shallow") == "true",
        export=query.get("format") == "export",
        condition=condition,
        wants_etag=(header(scope, b"x-firebase-etag") or "").lower() == "true",
    )


async def read_value(exchange: HttpExchange) -> Any:
    """Return the value in the body of a request, read in its turn; raises `Refused` (`too_large`, `bad_json`)."""
    worker: Worker = exchange.scope["state"]["worker"]
    body = await exchange.read_body(worker.settings.max_message)
    if not body:
        raise Refused("bad_json", "the body is the value, in JSON")
    if len(body) < LARGE:
        return read_leniently(_read, body)
    found: list[Any] = []
    address = counted_client(exchange.scope)
    await worker.large_messages.turn(address, lambda: found.append(read_leniently(_read, body)))
    return found[0]


def _read(text: bytes) -> Any:
    check_nesting(text)
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        raise BadFrame("bad_json", explain(error)) from None
