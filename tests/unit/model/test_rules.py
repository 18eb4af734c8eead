"""Rules of rooms as clients see them, and changes of them."""

import msgspec
import pytest

from relay.model.errors import Refused
from relay.model.rules import RoomRules, RuleChange, checked_change, shown_rules

ALL = {"max_members": None, "locked": False, "password": False, "ttl": None, "history": True, "owner": None}


def test_all_rules_are_shown() -> None:
    assert shown_rules(RoomRules()) == ALL
    shown = shown_rules(RoomRules(max_members=5, locked=True, owner="p"))
    assert shown == ALL | {"max_members": 5, "locked": True, "owner": "p"}


def test_a_change_does_not_show_its_password() -> None:
    change = msgspec.json.decode(b'{"password":"secret-word","locked":false,"ttl":0}', type=RuleChange)
    assert repr(change) == "RuleChange(locked=False, ttl=0, password=…)"
    assert repr(RuleChange(password="")) == "RuleChange()"


def test_an_owner_is_a_peer() -> None:
    for owner in (None, "", "a%20b"):
        assert checked_change(RuleChange(owner=owner)).owner == owner
    with pytest.raises(Refused, match="bad_peer"):
        checked_change(RuleChange(owner="a b"))
