"""The relay's own Via."""

from relay.fleet_key import FleetKey
from relay.gateways.sip.message import SipRequest, read_message
from relay.gateways.sip.via import ViaSeal, is_own
from tests.sip_client import SipAgent

SEAL = ViaSeal(FleetKey(["a fleet secret of the tests"]), "room")


def invite(**parts: str) -> SipRequest:
    text = SipAgent("alice", contact="sip:a@a.invalid").request(
        "INVITE", "sip:bob@x", call="1", branch="z9hG4bK7", **parts
    )
    message = read_message(text.encode())
    assert isinstance(message, SipRequest)
    return message


def test_the_place_comes_back() -> None:
    sent = invite()
    forwarded = sent.with_via(SEAL.value(sent, "alice;x@y", "bob"))
    assert SEAL.place(forwarded) == "alice;x@y"
    assert is_own(forwarded.value("via"))
    assert not is_own(sent.value("via"))
    # Another worker of the fleet reads it.
    assert ViaSeal(FleetKey(["a fleet secret of the tests"]), "room").place(forwarded) == "alice;x@y"


def test_each_target_has_a_branch_of_its_own_and_a_repetition_the_same() -> None:
    sent = invite()
    assert SEAL.branch(sent, "alice", "bob") == SEAL.branch(sent, "alice", "bob")
    branches = {SEAL.branch(sent, "alice", one) for one in ("bob", "bob;2")} | {SEAL.branch(sent, "eve", "bob")}
    assert len(branches) == 3
    assert all(one.startswith("z9hG4bK") for one in branches)


def test_a_via_counts_for_its_room_call_number_and_place_alone() -> None:
    sent = invite()
    via = SEAL.value(sent, "alice", "bob")
    forged = [
        via.replace("branch=z9hG4bK", "branch=z9hG4bKx"),
        via[:-4],
        via[:-4] + "AAAA",
        via.replace("relay.invalid", "other.invalid"),
        via.partition(";place")[0],
        via.partition(";place")[0] + ";place=é",
        via.partition(";place")[0] + ";place=" + "A" * 22,
    ]
    for value in forged:
        assert SEAL.place(sent.with_via(value)) is None
    assert SEAL.place(invite(number=2).with_via(via)) is None  # type: ignore[arg-type]
    assert ViaSeal(FleetKey(["a fleet secret of the tests"]), "other").place(sent.with_via(via)) is None
    assert ViaSeal(FleetKey(["the secret of another fleet"]), "room").place(sent.with_via(via)) is None
    other = sent.only(lambda field: field.name != "call-id")
    assert SEAL.place(other.with_via(via)) is None
