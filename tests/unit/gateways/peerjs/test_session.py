"""PeerJS clients over the memory backend."""

from collections.abc import AsyncIterator

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.peerjs.codec import PeerJSCodec
from relay.gateways.peerjs.connection import PeerConnection
from relay.gateways.peerjs.guesses import WrongTokens
from relay.gateways.peerjs.session import PeerJSSession
from relay.model.errors import PEER_TAKEN, TOO_FAST
from relay.rooms.connection import Transfer
from relay.rooms.worker import Worker
from tests.fleet import eventually
from tests.unit.gateways.base.fakes import Client, FakeConnection, until, until_members

CODECS = CodecPair(PeerJSCodec(), PeerJSCodec())


class Silent(FakeConnection):
    """A connection of which nothing is known."""

    def transfer(self) -> Transfer | None:
        return None


class Page(Client):
    """A client with the session of the gateway."""

    def __init__(self, worker: Worker, wrong: WrongTokens) -> None:
        self.worker = worker
        self.connection = Silent()
        self.ticket = worker.admissions.admit("here", "peerjs")
        self.session = PeerJSSession(PeerConnection(self.connection), worker, CODECS, self.ticket, wrong)

    async def enter(self, peer: str, key: str = "a secret key") -> "Page":
        await self.session.enter(lambda: JoinRequest("r", peer, resume=key, own_key=bool(key), can_resume=bool(key)))
        return self


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(token_attempts=2)) as worker:
        yield worker


@pytest.fixture
def wrong(worker: Worker) -> WrongTokens:
    return WrongTokens(worker.settings, worker.clock)


async def test_the_same_key_takes_the_place_over_again_and_again(worker: Worker, wrong: WrongTokens) -> None:
    pages = [await Page(worker, wrong).enter("ann") for _ in range(3)]
    assert [page.connection.events for page in pages] == [[{"type": "OPEN"}]] * 3
    assert [page.connection.reason is None for page in pages] == [False, False, True]
    pages[2].session.disconnected(1006, None)
    await until_members(worker, "r", {"ann": True})
    back = await Page(worker, wrong).enter("ann")
    assert back.connection.events == [{"type": "OPEN"}]


async def test_another_key_does_not_and_is_counted(worker: Worker, wrong: WrongTokens) -> None:
    ann = await Page(worker, wrong).enter("ann")
    ann.session.disconnected(1006, None)
    await until_members(worker, "r", {"ann": True})
    reasons = []
    for number in range(3):
        other = await Page(worker, wrong).enter("ann", f"wrong key {number}")
        assert other.connection.events == [{"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}]
        reasons.append(other.connection.reason)
    assert reasons == [PEER_TAKEN, PEER_TAKEN, TOO_FAST]


async def test_a_place_without_a_key_is_not_held(worker: Worker, wrong: WrongTokens) -> None:
    ann = await Page(worker, wrong).enter("ann", "")
    ann.session.disconnected(1006, None)
    await until_members(worker, "r", {})


async def test_a_signal_waits_until_its_peer_joins(worker: Worker, wrong: WrongTokens) -> None:
    ann = await Page(worker, wrong).enter("ann")
    for number in range(3):
        ann.send(type="OFFER" if number == 0 else "CANDIDATE", dst="ben", payload={"connectionId": "c", "n": number})
    ben = await Page(worker, wrong).enter("ben")
    await until(lambda: len(ben.connection.events) == 4)
    assert ben.connection.events[0] == {"type": "OPEN"}
    assert [event["payload"]["n"] for event in ben.connection.events[1:]] == [0, 1, 2]
    assert {event["src"] for event in ben.connection.events[1:]} == {"ann"}
    # A client that has gone leaves nothing behind.
    ann.send(type="OFFER", dst="nobody", payload={})
    ann.session.disconnected(1000, None)
    await until_members(worker, "r", {"ben": False})


async def test_a_client_that_comes_back_goes_on_with_its_signals(worker: Worker, wrong: WrongTokens) -> None:
    ann = await Page(worker, wrong).enter("ann")
    for number in range(3):
        ann.send(type="OFFER" if number == 0 else "CANDIDATE", dst="ben", payload={"connectionId": "c", "n": number})
    ann.session.disconnected(1006, None)
    await until_members(worker, "r", {"ann": True})
    ben = await Page(worker, wrong).enter("ben")
    back = await Page(worker, wrong).enter("ann")
    back.send(type="CANDIDATE", dst="ben", payload={"connectionId": "c", "n": 3})
    await until(lambda: len(ben.connection.events) >= 5)
    assert [event["payload"]["n"] for event in ben.connection.events[1:]] == [0, 1, 2, 3]


async def test_a_client_that_says_goodbye_takes_its_signals_along(worker: Worker, wrong: WrongTokens) -> None:
    ann = await Page(worker, wrong).enter("ann")
    ann.send(type="OFFER", dst="ben", payload={"connectionId": "c"})
    await until_recorded(worker, "ben", 1)
    ann.session.disconnected(1000, None)
    await until_recorded(worker, "ben", 0)


async def until_recorded(worker: Worker, receiver: str, count: int) -> None:
    async def is_so() -> bool:
        return len(await worker._parts.backend.waiting.of("r", receiver)) == count

    await eventually(is_so)


async def test_a_client_that_has_left_is_told_so(worker: Worker, wrong: WrongTokens) -> None:
    ann = await Page(worker, wrong).enter("ann")
    ann.send(type="LEAVE")
    ann.send(type="HEARTBEAT")
    ann.send(type="OFFER", dst="ben", payload={})
    await until(lambda: len(ann.connection.events) == 2)
    error = ann.connection.events[1]
    assert (error["type"], error["payload"]["code"], error["payload"]["about"]) == (
        "RELAY-ERROR",
        "not_joined",
        "OFFER",
    )
