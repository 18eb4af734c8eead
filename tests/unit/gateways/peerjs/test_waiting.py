"""Signals that wait, with a session that sends when the test says so."""

import asyncio
from collections.abc import Callable, Iterable

import msgspec
import pytest

from relay.gateways.peerjs import waiting
from relay.gateways.peerjs.codec import Signal
from relay.gateways.peerjs.record import RecordedSignals
from relay.gateways.peerjs.waiting import MOST_BYTES, MOST_WAITING, Sent, WaitingSignals
from relay.limits import Clock
from relay.metrics import Metrics
from relay.model.errors import Refused, RelayError, Unavailable
from relay.model.publication import Receipt
from relay.rooms.buffers import Buffers

CLOCK: Clock = lambda: 0.0  # noqa: E731
ABSENT = Refused("no_such_peer")
SENT = Receipt(b"1-1")


class Record(RecordedSignals):
    """Keeps the recorded messages; nothing of them is stored."""

    def __init__(self) -> None:
        super().__init__(None, lambda: None, lambda: "key")  # type: ignore[arg-type]
        self.kept: list[tuple[Signal, float]] = []

    def keep(self, signal: Signal, seconds: float) -> None:
        self.kept.append((signal, seconds))

    def drop(self, signals: Iterable[Signal]) -> None:
        self.kept = [one for one in self.kept if one[0] not in signals]


class Session:
    """Records the signals; each gets the `outcome`, at once."""

    def __init__(self) -> None:
        self.outcome: Receipt | RelayError = ABSENT
        self.sent: list[str] = []
        self.expired: list[str] = []
        self.arrivals: dict[str, Callable[[], None]] = {}
        self.buffers = Buffers(address_limit=10**6, worker_limit=10**6, metrics=Metrics({}), clock=CLOCK)
        self.record = Record()
        self.waiting = WaitingSignals(self, self.record, lambda drop: self.buffers.open("here", drop))

    def send(self, signal: Signal, done: Sent | None = None) -> None:
        self.sent.append(signal.envelope.decode().partition('"n":')[2][:1])
        if done is not None:
            done(self.outcome)

    def expire(self, peer: str) -> None:
        self.expired.append(peer)

    def await_arrival(self, peer: str, callback: Callable[[], None]) -> Callable[[], None]:
        self.arrivals[peer] = callback
        return lambda: self.arrivals.pop(peer) and None

    @property
    def bytes(self) -> int:
        return self.buffers.everything.total


def signal(kind: str, number: int = 0, dst: str = "bob", connection: str = "c", size: int = 0) -> Signal:
    message = {"message": {"payload": {"connectionId": connection, "n": number, "x": "x" * size}}}
    return Signal(msgspec.json.encode(message), (dst,), "peerjs", kind=kind)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "EXPIRE_AFTER", 0.05)
    monkeypatch.setattr(waiting, "_RETRY", 0.01)


async def test_signals_are_sent_in_order_when_their_peer_arrives() -> None:
    session = Session()
    for number, kind in enumerate(("OFFER", "CANDIDATE", "CANDIDATE")):
        session.waiting.add(signal(kind, number))
    assert "bob" in session.waiting
    assert session.sent == ["0"]
    session.outcome = SENT
    session.arrivals["bob"]()
    await asyncio.sleep(0)
    assert session.sent == ["0", "0", "1", "2"]
    assert (session.arrivals, session.bytes, "bob" in session.waiting) == ({}, 0, False)
    await asyncio.sleep(0.1)
    assert session.expired == []


async def test_a_peer_that_joined_meanwhile_is_found_by_the_first_probe() -> None:
    session = Session()
    session.outcome = SENT
    session.waiting.add(signal("OFFER"))
    assert "bob" not in session.waiting
    assert session.sent == ["0"]


async def test_each_absent_peer_expires_once_and_late_candidates_begin_no_second_wait() -> None:
    session = Session()
    for number in range(3):
        session.waiting.add(signal("OFFER" if number == 0 else "CANDIDATE", number))
        session.waiting.add(signal("OFFER", number, dst="carol", connection="d"))
    await asyncio.sleep(0.1)
    assert sorted(session.expired) == ["bob", "carol"]
    session.waiting.add(signal("CANDIDATE", 9))
    assert "bob" not in session.waiting
    session.waiting.add(signal("OFFER", 9, connection="e"))
    assert "bob" in session.waiting
    await asyncio.sleep(0.1)
    assert session.expired.count("bob") == 2


async def test_a_goodbye_does_not_wait() -> None:
    session = Session()
    session.waiting.add(signal("LEAVE"))
    assert (session.sent, "bob" in session.waiting) == ([], False)


async def test_signals_that_redis_did_not_take_are_sent_again() -> None:
    session = Session()
    session.outcome = Unavailable()
    session.waiting.add(signal("OFFER"))
    await asyncio.sleep(0.02)
    assert len(session.sent) >= 2
    session.outcome = SENT
    await asyncio.sleep(0.03)
    assert "bob" not in session.waiting
    assert session.expired == []


async def test_another_error_ends_the_wait() -> None:
    session = Session()
    session.waiting.add(signal("OFFER"))
    session.outcome = Refused("not_granted")
    session.arrivals["bob"]()
    await asyncio.sleep(0)
    assert session.expired == ["bob"]


async def test_number_and_bytes_are_bounded() -> None:
    session = Session()
    for number in range(MOST_WAITING):
        session.waiting.add(signal("OFFER", dst=f"peer{number}"))
    with pytest.raises(Refused, match="too_many_waiting"):
        session.waiting.add(signal("OFFER"))
    session.waiting.end(goodbye=False)
    assert (session.bytes, session.arrivals) == (0, {})
    with pytest.raises(Refused, match="too_many_waiting"):
        session.waiting.add(signal("OFFER", size=MOST_BYTES))


async def test_without_memory_all_expire() -> None:
    session = Session()
    session.buffers = Buffers(address_limit=100, worker_limit=10**6, metrics=Metrics({}), clock=CLOCK)
    session.waiting = WaitingSignals(session, session.record, lambda drop: session.buffers.open("here", drop))
    session.waiting.add(signal("OFFER", size=200))
    await asyncio.sleep(0)
    assert (session.expired, session.bytes) == (["bob"], 0)


async def test_a_waiting_signal_is_recorded_with_its_key_and_the_rest_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "EXPIRE_AFTER", 60.0)
    session = Session()
    session.waiting.add(signal("OFFER"))
    await asyncio.sleep(0.02)
    session.waiting.add(signal("CANDIDATE", 1))
    (first, all_of_it), (second, rest) = session.record.kept
    assert (first.key, second.key) == ("key", "key")
    assert 0 < rest < all_of_it <= 60
    session.outcome = SENT
    session.arrivals["bob"]()
    await asyncio.sleep(0)
    assert session.record.kept == []
    session.waiting.end(goodbye=True)


@pytest.mark.parametrize("outcome", [SENT, ABSENT])
async def test_another_session_goes_on_with_the_rest_of_the_time(outcome: Receipt | RelayError) -> None:
    lost, session = Session(), Session()
    for number, kind in enumerate(("OFFER", "CANDIDATE")):
        lost.waiting.add(signal(kind, number))
    lost.waiting.end(goodbye=False)
    assert len(lost.record.kept) == 2
    session.waiting.resume([(one, seconds - 0.04) for one, seconds in lost.record.kept])
    session.outcome = outcome
    if outcome is SENT:
        session.arrivals["bob"]()
    await asyncio.sleep(0.1)
    assert session.expired == ([] if outcome is SENT else ["bob"])
    assert session.sent == (["0", "0", "1"] if outcome is SENT else ["0", "0"])
    assert lost.expired == []


async def test_signals_whose_time_was_over_are_sent_once_more_before_they_expire() -> None:
    session = Session()
    session.waiting.resume([(signal("OFFER"), -3.0)])
    await asyncio.sleep(0.02)
    assert (session.sent, session.expired) == (["0", "0"], ["bob"])
