"""Posts: envelopes in the body of a request, published for a member that proves its place by its resume key."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.base.http import JSON, HttpBody, HttpExchange
from relay.gateways.base.http_place import PlaceQuery
from relay.gateways.base.poster import Poster
from relay.gateways.plainhttp.state import state_of
from relay.http_request import counted_client
from relay.model.errors import Refused, RelayError
from relay.model.json_text import check_nesting
from relay.model.publication import Receipt
from relay.rooms.large_messages import LARGE
from relay.rooms.worker import Worker

MAX_BATCH: Final = 100
"""Envelopes in one post."""

_ROOM: Final = 65_536
"""Bytes of a batch above `max-message`."""


async def answer_post(exchange: HttpExchange, query: PlaceQuery, metrics_name: str) -> None:
    """Publish the envelopes of a post, and respond with their ids; raises `Refused`."""
    worker: Worker = exchange.scope["state"]["worker"]
    place = query.proven_place()
    most = worker.settings.max_message
    body = await exchange.read_body(most + _ROOM)
    if body is None:
        return
    address = counted_client(exchange.scope)
    poster = await Poster.of(worker, place, query.token, address, state_of(exchange.scope).rates)
    metrics = worker.metrics.of(metrics_name)
    metrics.bytes_in += len(body)
    batch = await _read(worker, address, body)
    metrics.messages_in += 1 if isinstance(batch, bytes) else len(batch)
    if isinstance(batch, bytes):
        content: Any = _sent(await poster.publish(batch, query.after))
    else:
        content = await _publish_all(poster, batch, query.after)
    await exchange.respond(HttpBody(msgspec.json.encode(content), JSON))


async def _read(worker: Worker, address: str, body: bytes) -> bytes | Sequence[bytes]:
    """Return one envelope, or the envelopes of a batch, unread; large bodies are read in their turn."""
    if len(body) < LARGE:
        return _split(body)
    found: list[bytes | Sequence[bytes]] = []
    await worker.large_messages.turn(address, lambda: found.append(_split(body)))
    return found[0]


def _split(body: bytes) -> bytes | Sequence[bytes]:
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        return body
    check_nesting(body)
    try:
        batch = msgspec.json.decode(body, type=list[Raw])
    except msgspec.DecodeError:
        raise Refused("bad_json") from None
    if not 1 <= len(batch) <= MAX_BATCH:
        raise Refused("bad_body", f"a batch is a list of 1 to {MAX_BATCH} envelopes")
    return [bytes(envelope) for envelope in batch]


async def _publish_all(poster: Poster, envelopes: Sequence[bytes], after: str = "") -> Sequence[dict[str, Any]]:
    """Publish a batch, one after the other; once one fails, the rest is not sent, so that the order is kept."""
    results: list[dict[str, Any]] = []
    failed: RelayError | None = None
    for envelope in envelopes:
        if failed is None:
            try:
                results.append(_sent(await poster.publish(envelope, "" if results else after)))
                continue
            except RelayError as error:
                failed = error
                if not results:
                    raise
                results.append(error.body)
        else:
            results.append(Refused("out_of_order", "an envelope ahead of this one in the batch was not sent").body)
    return results


def _sent(receipt: Receipt) -> dict[str, Any]:
    return {"id": str(receipt.id)} | ({"repeat": True} if receipt.repeat else {})
