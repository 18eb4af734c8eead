"""The text of rules, and how they change."""

import pytest

from relay.backend.presence import JoinAttempt
from relay.backend.rules import (
    KICK,
    MAX_BANS,
    PEER,
    SUBJECT,
    Ban,
    Change,
    StoredRules,
    changed,
    read_rules,
    with_bans,
    write_rules,
)
from relay.model.envelope import MessageId
from relay.model.events import RulesChanged

FULL = StoredRules(
    version=12,
    max_members=3,
    locked=True,
    salt="5a17",
    derived="c0ffee",
    ttl=60,
    history=False,
    owner="a=b;c%20d",
    elected=True,
    made=True,
    bans=(Ban(99, PEER, "x,y".replace(",", ";")), Ban(98, SUBJECT, "f00"), Ban(97, KICK, "p", 5)),
)


@pytest.mark.parametrize("rules", [FULL, StoredRules(version=1), StoredRules(version=2, locked=True)])
def test_rules_survive_as_text(rules: StoredRules) -> None:
    assert read_rules(write_rules(rules)) == rules


def test_no_text_is_no_rules() -> None:
    assert read_rules("") is None


@pytest.mark.parametrize("text", ["v=x", "v=99999999999999999 m=-1", "b=1,p|2,s,|x,k,p,y", "=", "what=ever l=2"])
def test_values_of_other_programs_count_as_missing(text: str) -> None:
    assert read_rules(text) in (StoredRules(), StoredRules(bans=(Ban(2, "s", "", 0),)))


def test_a_change_sets_and_removes() -> None:
    rules = changed(FULL, Change(set="m=4 o=new", remove="s p e"), 11)
    assert (rules.version, rules.max_members, rules.owner, rules.derived, rules.elected) == (13, 4, "new", "", False)
    assert rules.locked
    assert changed(None, Change(set="l=1"), 50) == StoredRules(version=50, locked=True)


def test_everybody_may_see_that_there_is_a_password_and_not_which() -> None:
    public = FULL.public
    assert public.password is True
    event = RulesChanged("room", MessageId(1, 1), public, stored=write_rules(FULL))
    attempt = JoinAttempt(room="room", peer="p", offered="", fresh="", password="c0ffee", opening="p=c0ffee")
    for value in (public, FULL, event, attempt, Change(set="p=c0ffee")):
        assert "c0ffee" not in repr(value)


def test_bans_end_and_are_bounded() -> None:
    rules = with_bans(StoredRules(), [Ban(100 + number, PEER, f"p{number}") for number in range(150)], 0)
    assert len(rules.bans) == MAX_BANS
    assert rules.bans_of("", "p149", 0)
    assert not rules.bans_of("", "p0", 0)
    rules = with_bans(rules, [Ban(500, PEER, "p149")], 240)
    assert rules.bans_of("", "p149", 400)
    assert not rules.bans_of("", "p145", 400)
    assert len(rules.bans) == 9


def test_a_ban_of_no_subject_is_for_nobody() -> None:
    rules = StoredRules(bans=(Ban(9, SUBJECT, "f00"), Ban(9, KICK, "p", 5)))
    assert rules.bans_of("f00", "q", 1)
    assert not rules.bans_of("", "p", 1)
    assert rules.was_kicked("p", 5)
    assert not rules.was_kicked("p", 6)
