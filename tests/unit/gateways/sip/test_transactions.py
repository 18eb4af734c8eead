"""The requests of one client: branches, answers, timers."""

import asyncio
from dataclasses import dataclass, field

import pytest

from relay.fleet_key import FleetKey
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.message import SipMessage, SipRequest, SipResponse, new_field, read_message, response
from relay.gateways.sip.transactions import (
    ELSEWHERE,
    MOST_BRANCHES,
    MOST_BYTES,
    MOST_TRANSACTIONS,
    ClientTransactions,
    Done,
    Timers,
)
from relay.gateways.sip.via import ViaSeal
from relay.model.errors import Refused, RelayError
from tests.sip_client import SipAgent

SEAL = ViaSeal(FleetKey(["a fleet secret of the tests"]), "room")
LONG = Timers(60, 60)
ALICE = SipAgent("alice")


@dataclass
class Wires:
    """Keeps the messages to the client and to its peers; `absent` has the errors of messages to peers."""

    peer: str = "alice"
    client: list[SipMessage] = field(default_factory=list)
    peers: list[tuple[str, SipMessage]] = field(default_factory=list)
    absent: dict[str, RelayError] = field(default_factory=dict)

    def to_client(self, message: SipMessage) -> None:
        self.client.append(message)

    def to_peer(self, peer: str, message: SipMessage, done: Done | None = None) -> None:
        self.peers.append((peer, message))
        if done is not None:
            done(self.absent.get(peer))

    @property
    def statuses(self) -> list[int]:
        return [one.status for one in self.client if isinstance(one, SipResponse)]

    def sent(self, method: str) -> list[str]:
        return [peer for peer, one in self.peers if isinstance(one, SipRequest) and one.method == method]

    def request_to(self, peer: str, method: str = "INVITE") -> SipRequest:
        return next(
            one for name, one in self.peers if name == peer and isinstance(one, SipRequest) and one.method == method
        )


def made(method: str = "INVITE", branch: str = "z9hG4bK7", body: str = "") -> SipRequest:
    message = read_message(ALICE.request(method, "sip:bob@x", branch=branch, call="1", body=body).encode())
    assert isinstance(message, SipRequest)
    return message


def answer(to: SipRequest, status: int, tag: str = "t") -> SipResponse:
    fields = [one for one in to.fields if one.name in ("via", "from", "call-id", "cseq")]
    return response(status, "", [*fields, new_field("To", f"{to.value('to')};tag={tag}")])


class Case:
    """One request that goes to some peers."""

    def __init__(self, *targets: str, method: str = "INVITE", timers: Timers = LONG, **absent: str) -> None:
        self.wires = Wires(absent={peer: Refused(code) for peer, code in absent.items()})
        self.transactions = ClientTransactions(self.wires, SEAL, timers)
        self.request, self.method = made(method), method
        self.transactions.begin(self.request, targets)

    def answers(self, peer: str, status: int) -> bool:
        return self.transactions.receive(answer(self.wires.request_to(peer, self.method), status), peer)


async def test_one_callee() -> None:
    case = Case("bob")
    for status in (100, 180, 200):
        assert case.answers("bob", status)
    assert case.wires.statuses == [100, 180, 200]
    assert case.wires.client[-1].via.host == case.request.via.host
    assert len(case.transactions) == 0
    # A second 2xx is of a request that is over, and the session passes it on.
    assert not case.answers("bob", 200)


async def test_a_request_goes_to_a_bounded_number_of_peers() -> None:
    targets = [f"bob;{number}" for number in range(MOST_BRANCHES + 2)]
    case = Case()
    assert case.transactions.begin(made(branch="z9hG4bK8"), targets) == MOST_BRANCHES == 8
    assert case.wires.sent("INVITE") == targets[:8]


async def test_a_repeated_request_goes_once() -> None:
    case = Case("bob")
    case.transactions.begin(case.request, ["bob"])
    assert case.wires.sent("INVITE") == ["bob"]


async def test_the_first_2xx_wins_and_the_others_are_cancelled() -> None:
    case = Case("b1", "b2", "b3")
    case.answers("b1", 180)
    case.answers("b3", 486)
    case.answers("b2", 200)
    assert case.wires.sent("CANCEL") == ["b1"]
    assert case.wires.request_to("b1", "CANCEL").value("reason") == ELSEWHERE
    case.answers("b1", 487)
    assert case.wires.statuses == [100, 180, 200]
    assert case.wires.sent("ACK") == ["b3", "b1"]
    assert len(case.transactions) == 0


async def test_two_2xx_both_pass() -> None:
    case = Case("b1", "b2")
    case.answers("b1", 200)
    case.answers("b2", 200)
    assert case.wires.statuses == [100, 200, 200]


@pytest.mark.parametrize(("given", "best"), [((486, 404), 404), ((503, 486), 486), ((480, 302), 302)])
async def test_the_best_refusal_counts(given: tuple[int, int], best: int) -> None:
    case = Case("b1", "b2")
    case.answers("b1", given[0])
    assert case.wires.statuses == [100]
    case.answers("b2", given[1])
    assert case.wires.statuses == [100, best]
    assert case.transactions.takes(made("ACK"))
    assert not case.transactions.takes(made("ACK"))


async def test_6xx_ends_all() -> None:
    case = Case("b1", "b2")
    case.answers("b1", 603)
    assert case.wires.statuses == [100, 603]
    assert case.wires.sent("CANCEL") == ["b2"]
    case.answers("b2", 487)
    assert case.wires.statuses == [100, 603]
    assert len(case.transactions) == 0


async def test_a_caller_cancels() -> None:
    case = Case("b1", "b2")
    case.answers("b1", 180)
    assert case.transactions.cancel(made("CANCEL"))
    # A CANCEL that is repeated goes to nobody.
    assert case.transactions.cancel(made("CANCEL"))
    assert case.wires.sent("CANCEL") == ["b1", "b2"]
    case.answers("b1", 487)
    case.answers("b2", 487)
    assert case.wires.statuses == [100, 180, 487]
    assert not case.transactions.cancel(made("CANCEL", "z9hG4bKother"))


async def test_the_answer_to_a_cancel_ends_here() -> None:
    case = Case("bob")
    case.transactions.cancel(made("CANCEL"))
    assert case.transactions.receive(answer(case.wires.request_to("bob", "CANCEL"), 200), "bob")
    assert case.wires.statuses == [100]


async def test_answers_of_others_are_dropped() -> None:
    case = Case("bob")
    assert case.transactions.receive(answer(case.wires.request_to("bob"), 200), "eve")
    assert case.wires.statuses == [100]


async def test_absent_callees() -> None:
    assert Case("bob", bob="no_such_peer").wires.statuses == [100, 480]
    assert Case("bob", bob="unavailable").wires.statuses == [100, 503]
    case = Case("b1", "b2", b1="no_such_peer")
    assert case.wires.statuses == [100]
    case.answers("b2", 200)
    assert case.wires.statuses == [100, 200]


async def test_other_requests_have_one_answer() -> None:
    case = Case("b1", "b2", method="MESSAGE")
    case.answers("b1", 100)
    case.answers("b1", 200)
    case.answers("b2", 200)
    assert case.wires.statuses == [200]
    assert not case.wires.sent("CANCEL")


async def test_timer_b() -> None:
    case = Case("bob", timers=Timers(0.01, 60))
    async with asyncio.timeout(5):
        while case.wires.statuses != [100, 408]:
            await asyncio.sleep(0.005)
    # A held peer gets the INVITE and its CANCEL when it comes back.
    assert case.wires.sent("CANCEL") == ["bob"]


async def test_timer_c() -> None:
    case = Case("bob", timers=Timers(0.05, 0.01))
    case.answers("bob", 180)
    async with asyncio.timeout(5):
        while case.wires.sent("CANCEL") != ["bob"]:
            await asyncio.sleep(0.005)
        # It does not answer the CANCEL either.
        while case.wires.statuses != [100, 180, 408]:
            await asyncio.sleep(0.005)
    assert case.wires.sent("CANCEL") == ["bob"]


async def test_timer_f_is_silent() -> None:
    case = Case("bob", method="INFO", timers=Timers(0.01, 60))
    async with asyncio.timeout(5):
        while len(case.transactions):
            await asyncio.sleep(0.005)
    assert case.wires.statuses == []


async def test_the_number_is_bounded() -> None:
    case = Case("bob")
    for number in range(MOST_TRANSACTIONS - 1):
        case.transactions.begin(made(branch=f"z9hG4bK-{number}"), ["bob"])
    with pytest.raises(SipRefused):
        case.transactions.begin(made(branch="z9hG4bK-last"), ["bob"])
    case.transactions.end(goodbye=False)
    case = Case(*(f"b{number}" for number in range(20)))
    assert len(case.wires.sent("INVITE")) == 8


async def test_the_bytes_are_bounded() -> None:
    """One large request is forwarded, and further ones once it has its answer."""
    wires = Wires()
    transactions = ClientTransactions(wires, SEAL, LONG)
    transactions.begin(made(body="x" * MOST_BYTES), ["bob"])
    with pytest.raises(SipRefused):
        transactions.begin(made(branch="z9hG4bK-2"), ["bob"])
    transactions.receive(answer(wires.request_to("bob"), 486), "bob")
    for number in (3, 4):
        transactions.begin(made(branch=f"z9hG4bK-{number}", body="x" * (MOST_BYTES // 2 - 1000)), ["bob"])
    with pytest.raises(SipRefused):
        transactions.begin(made(branch="z9hG4bK-5", body="x" * 2000), ["bob"])
    transactions.end(goodbye=False)


async def test_a_client_that_leaves_ends_its_ringing_calls() -> None:
    for goodbye, cancelled in ((True, ["bob"]), (False, [])):
        case = Case("bob", timers=Timers(0.01, 0.01))
        case.answers("bob", 180)
        case.transactions.end(goodbye=goodbye)
        assert case.wires.sent("CANCEL") == cancelled
        assert not case.answers("bob", 200)
