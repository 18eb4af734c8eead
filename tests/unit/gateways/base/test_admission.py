"""Which handshakes may go on, and which error the others get."""

from collections.abc import AsyncIterator

import pytest
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.model.errors import Refused
from relay.rooms.worker import Worker


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    settings = Settings(
        allowed_origins=("https://page.example",), max_connections=3, connections_per_address=2, handshake_rate=3
    )
    async with Worker(settings) as worker:
        yield worker


def scope_of(worker: Worker, origin: str | None, address: str) -> Scope:
    headers = [] if origin is None else [(b"origin", origin.encode())]
    return {"state": {"worker": worker}, "headers": headers, "client": (address, 1234)}


def code_of(worker: Worker, origin: str | None = None, address: str = "address") -> str:
    try:
        admit(scope_of(worker, origin, address), "native")
    except Refused as error:
        return error.code
    return ""


def test_pages_of_allowed_origins_and_clients_without_an_origin_may_connect(worker: Worker) -> None:
    assert code_of(worker, "https://page.example") == ""
    assert code_of(worker, None) == ""
    assert code_of(worker, "https://other.example", "other") == "bad_origin"


async def test_a_star_allows_pages_of_every_origin() -> None:
    async with Worker(Settings(allowed_origins=("*",))) as worker:
        assert code_of(worker, "https://other.example") == ""


def test_a_client_is_counted_by_its_address(worker: Worker) -> None:
    ticket = admit(scope_of(worker, None, "client"), "native")
    assert (ticket.address, ticket.metrics.protocol) == ("client", "native")


def test_clients_without_an_address_have_no_quotas_together(worker: Worker) -> None:
    ticket = admit({**scope_of(worker, None, ""), "client": None}, "native")
    assert ticket.address == ""
    ticket.pace().stored.use(10**12)
    assert ticket.pace().stored.open


def test_a_refused_handshake_counts_nothing(worker: Worker) -> None:
    for _ in range(5):
        assert code_of(worker, "https://other.example") == "bad_origin"
    assert [code_of(worker), code_of(worker)] == ["", ""]


async def test_a_worker_that_is_stopping_refuses() -> None:
    async with Worker(Settings()) as worker:
        await worker.drain()
        assert code_of(worker) == "unavailable"
