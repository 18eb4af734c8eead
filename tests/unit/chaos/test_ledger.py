"""The judge of the chaos suite is judged here."""

import pytest

from relay.model.envelope import MessageId
from tests.chaos.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger({"r": ["a", "b", "c"]})


def message_id(number: int) -> MessageId:
    return MessageId(1, number + 1)


def say(ledger: Ledger, number: int, *hearers: str, acknowledged: bool = True, at: float = 0.0) -> None:
    ledger.said("r", "a", number, at)
    for hearer in hearers:
        ledger.heard("r", hearer, "a", number, message_id(number), at + 0.1)
    if acknowledged:
        ledger.acknowledged("r", "a", number, message_id(number))


def test_messages_that_all_members_received_are_well(ledger: Ledger) -> None:
    say(ledger, 0, "b", "c")
    verdict = ledger.verdict(1.0)
    assert (verdict.sent, verdict.acknowledged, verdict.delivered) == (1, 1, 2)
    assert (verdict.lost, verdict.repeated, verdict.disordered, verdict.told, verdict.whole_after) == (0, 0, 0, 0, 0)


def test_a_message_that_was_acknowledged_or_delivered_to_another_is_lost_for_each_member_without_it(
    ledger: Ledger,
) -> None:
    say(ledger, 0)
    say(ledger, 1, "b", acknowledged=False)
    assert (ledger.verdict(0).lost, ledger.verdict(0).silent) == (3, 3)
    assert sorted(ledger.missing()) == [("r", "a", 0, "b"), ("r", "a", 0, "c"), ("r", "a", 1, "c")]
    ledger.told("r", "b", 0.5)
    assert ledger.missing() == [("r", "a", 0, "c"), ("r", "a", 1, "c")]
    assert (ledger.verdict(0).lost, ledger.verdict(0).silent) == (3, 2)
    assert ledger.verdict(0, {("r", "c")}).lost == 1
    assert (ledger.unacknowledged, ledger.verdict(0).told) == (1, 1)


def test_a_message_that_nobody_got_and_nobody_acknowledged_is_not_lost(ledger: Ledger) -> None:
    say(ledger, 0, acknowledged=False)
    assert ledger.verdict(0).lost == 0


def test_a_message_that_is_sent_again_in_a_new_epoch_is_no_repeat(ledger: Ledger) -> None:
    say(ledger, 0, "b", acknowledged=False)
    newer = MessageId(2, 1)
    ledger.told("r", "b", 1.0)
    for hearer in ("b", "c"):
        ledger.heard("r", hearer, "a", 0, newer, 2.0)
    ledger.acknowledged("r", "a", 0, newer)
    verdict = ledger.verdict(0)
    assert (verdict.repeated, verdict.disordered, verdict.lost) == (0, 0, 0)
    assert verdict.across == 2


def test_another_may_know_of_the_new_epoch_first(ledger: Ledger) -> None:
    say(ledger, 0, "b", "c", acknowledged=False)
    newer = MessageId(2, 1)
    ledger.acknowledged("r", "a", 0, newer)
    for hearer in ("b", "c"):
        ledger.told("r", hearer, 1.0)
        ledger.heard("r", hearer, "a", 0, newer, 2.0)
    assert ledger.verdict(0).repeated == 0


def test_a_message_that_comes_again_before_the_loss_is_told_is_a_repeat(ledger: Ledger) -> None:
    say(ledger, 0, "b", acknowledged=False)
    ledger.heard("r", "b", "a", 0, MessageId(2, 1), 2.0)
    ledger.told("r", "b", 3.0)
    assert ledger.verdict(0).repeated == 1
    assert "told of no loss" in ledger.repeats[0]


def test_an_acknowledged_message_counts_also_for_members_that_are_excused(ledger: Ledger) -> None:
    say(ledger, 0, "b")
    say(ledger, 1, "b", acknowledged=False)
    verdict = ledger.verdict(0, {("r", "b"), ("r", "c")})
    assert (verdict.lost, verdict.lost_acknowledged) == (0, 1)


def test_an_older_message_in_a_new_epoch_is_no_disorder_but_in_the_same_one_it_is(ledger: Ledger) -> None:
    say(ledger, 0, acknowledged=False)
    say(ledger, 1, "b")
    ledger.heard("r", "b", "a", 0, MessageId(2, 1), 2.0)
    assert ledger.verdict(0).disordered == 0
    for number, place in ((3, 2), (2, 3)):
        ledger.said("r", "a", number, 3.0)
        ledger.heard("r", "b", "a", number, MessageId(2, place), 3.0)
    assert ledger.verdict(0).disordered == 1


def test_a_member_that_is_shown_no_ids_is_judged_by_the_numbers(ledger: Ledger) -> None:
    say(ledger, 0)
    say(ledger, 1)
    for number in (1, 0, 1):
        ledger.heard("r", "b", "a", number, None, 1.0)
    assert (ledger.verdict(0).repeated, ledger.verdict(0).disordered) == (1, 1)


def test_repeats_and_disorder_are_counted_for_each_receiver(ledger: Ledger) -> None:
    say(ledger, 0, "b")
    say(ledger, 1, "b", "b", "c")
    ledger.heard("r", "c", "a", 0, message_id(0), 1.0)
    verdict = ledger.verdict(0)
    assert (verdict.repeated, verdict.disordered, verdict.lost) == (1, 1, 0)


def test_a_reported_loss_excuses_no_later_message(ledger: Ledger) -> None:
    say(ledger, 0, "b", at=1.0)
    ledger.told("r", "c", 2.0)
    say(ledger, 1, "b", at=3.0)
    assert ledger.missing() == [("r", "a", 1, "c")]


def test_ids_are_an_order_of_their_own(ledger: Ledger) -> None:
    for sender, number in (("a", 0), ("b", 1)):
        ledger.said("r", sender, number, 0.0)
    ledger.heard("r", "c", "b", 1, message_id(1), 0.1)
    ledger.heard("r", "c", "a", 0, message_id(0), 0.2)
    assert ledger.verdict(0).disordered == 1


def test_a_message_has_the_same_id_for_all_members(ledger: Ledger) -> None:
    say(ledger, 0, "b")
    ledger.heard("r", "c", "a", 0, message_id(7), 0.2)
    assert ledger.verdict(0).disordered == 1


def test_whether_some_heard_all_that_was_said_since(ledger: Ledger) -> None:
    say(ledger, 0)
    say(ledger, 1, "b", at=2.0)
    assert ledger.everybody_heard({("r", "a"), ("r", "b")}, 1.0)
    assert not ledger.everybody_heard({("r", "b")}, 0.0)
    assert not ledger.everybody_heard({("r", "c")}, 1.0)


def test_numbers_that_were_never_heard_are_no_disorder(ledger: Ledger) -> None:
    say(ledger, 3, "b")
    say(ledger, 7, "b")
    assert ledger.verdict(0).disordered == 0


def test_delivery_is_whole_again_when_the_last_late_one_has_come(ledger: Ledger) -> None:
    ledger.said("r", "a", 0, 1.0)
    ledger.heard("r", "b", "a", 0, message_id(0), 5.0)
    say(ledger, 1, "b", "c", at=6.0)
    assert ledger.verdict(4.0).whole_after == 1.0
    assert ledger.verdict(5.5).whole_after == 0.0


@pytest.mark.parametrize(
    ("said", "took", "whole_after"),
    [
        pytest.param(6.0, 0.6, 2.6, id="late soon after the last late one"),
        pytest.param(16.0, 1.9, 1.0, id="a short delay long afterwards"),
        pytest.param(16.0, 2.1, 14.1, id="a long delay long afterwards"),
    ],
)
def test_a_short_delay_long_after_a_fault_is_none_of_its_effects(
    ledger: Ledger, said: float, took: float, whole_after: float
) -> None:
    ledger.said("r", "a", 0, 1.0)
    ledger.heard("r", "b", "a", 0, message_id(0), 5.0)
    ledger.said("r", "a", 1, said)
    ledger.heard("r", "b", "a", 1, message_id(1), said + took)
    assert ledger.verdict(4.0).whole_after == pytest.approx(whole_after)
