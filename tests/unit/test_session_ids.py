"""Session ids: which worker they name, and which ids no worker has issued."""

import base64
import re

import pytest

from relay.fleet_key import FleetKey
from relay.ids import IdGenerator
from relay.model.workers import Owner
from relay.session_ids import LENGTH, BadSessionId, SessionIds

OWNER = Owner(b"group1", 7)


def ids(secret: str = "s" * 32, owner: Owner = OWNER) -> SessionIds:
    return SessionIds(FleetKey([secret]), owner, IdGenerator())


def test_an_id_names_its_owner_to_every_worker_of_the_fleet() -> None:
    issued = ids().issue()
    assert re.fullmatch(r"[A-Za-z0-9_-]{44}", issued)
    assert len(issued) == LENGTH
    assert ids(owner=Owner(b"group2", 0)).owner(issued) == OWNER


def test_every_index_that_a_worker_may_have_fits() -> None:
    for index in (0, 255):
        assert ids().owner(ids(owner=Owner(b"group1", index)).issue()).index == index


def test_ids_are_random() -> None:
    one = ids()
    assert len({one.issue()[:21] for _ in range(1000)}) == 1000


def test_keys_of_clients_lead_to_the_workers_behind_one_port() -> None:
    one, other = ids(), ids(owner=Owner(b"group1", 0))
    owners = [one.owner(other.of_local(f"key {number}", 3)) for number in range(100)]
    assert owners == [one.owner(one.of_local(f"key {number}", 3)) for number in range(100)]
    assert {owner.group for owner in owners} == {b"group1"}
    assert {owner.index for owner in owners} == {0, 1, 2}


def test_an_id_of_another_fleet_is_refused() -> None:
    with pytest.raises(BadSessionId):
        ids("t" * 32).owner(ids().issue())


def test_an_id_of_an_earlier_secret_is_accepted() -> None:
    both = SessionIds(FleetKey(["t" * 32, "s" * 32]), OWNER, IdGenerator())
    assert both.owner(ids().issue()) == OWNER


def test_an_id_with_any_bit_changed_is_refused() -> None:
    issued = base64.urlsafe_b64decode(ids().issue())
    for bit in range(8 * len(issued)):
        changed = bytearray(issued)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSessionId):
            ids().owner(base64.urlsafe_b64encode(changed).decode())


@pytest.mark.parametrize("text", ["", "x", "x" * 43, "x" * 45, "x" * 44, "ü" * 44, " " * 44, "x" * 43 + "\n", "=" * 44])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadSessionId):
        ids().owner(text)


def test_no_character_that_base64_would_ignore_may_be_added() -> None:
    issued = ids().issue()
    for text in (issued + "=", issued[:22] + "%" + issued[22:], issued + "\n"):
        with pytest.raises(BadSessionId):
            ids().owner(text)
