"""Which handshakes may go on, and which error the others get."""

from collections.abc import AsyncIterator

import pytest

from relay.config import Settings
from relay.gateways.base.admission import admit
from relay.model.errors import Refused
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import Client


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    settings = Settings(
        allowed_origins=("https://page.example",), max_connections=2, connections_per_address=2, handshake_rate=3
    )
    async with Worker(settings) as worker:
        yield worker


def code_of(worker: Worker, origin: str | None = None, address: str = "address") -> str:
    try:
        admit(worker, origin, address)
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


def test_an_address_is_counted_until_it_is_released(worker: Worker) -> None:
    assert [code_of(worker) for _ in range(3)] == ["", "", "too_many_connections"]
    assert code_of(worker, address="another") == ""
    worker.addresses.release("address")
    assert code_of(worker) == "too_many_handshakes"


def test_a_refused_handshake_counts_nothing(worker: Worker) -> None:
    for _ in range(5):
        assert code_of(worker, "https://other.example") == "bad_origin"
    assert [code_of(worker), code_of(worker)] == ["", ""]


def test_a_full_worker_refuses(worker: Worker) -> None:
    clients = [Client(worker), Client(worker)]
    assert code_of(worker) == "worker_full"
    clients[0].session.disconnected(1000, None)
    assert code_of(worker) == ""


async def test_a_worker_that_is_stopping_refuses() -> None:
    async with Worker(Settings()) as worker:
        await worker.drain()
        assert code_of(worker) == "unavailable"
