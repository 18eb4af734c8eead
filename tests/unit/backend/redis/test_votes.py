"""Sentinels that contradict each other at the same epoch: the majority decides, and the known master stays."""

import pytest

from relay.backend.redis.votes import Answer, Dissent, chosen_of, is_settled, outvotes

ONE, TWO = ("10.0.0.1", 6379), ("10.0.0.2", 6379)
NAME = ("redis-1", 6379)


def answer(address: tuple[str, int], run: str = "", *, epoch: int = 0, sentinel: int = 0) -> Answer:
    return Answer(epoch, False, address, run, ("s", sentinel))


def test_of_the_newest_answers_the_one_of_most_sentinels_counts() -> None:
    assert chosen_of([answer(TWO), answer(ONE), answer(ONE)], None).address == ONE
    assert chosen_of([answer(TWO), answer(ONE), answer(ONE)], answer(TWO)).address == ONE
    assert chosen_of([answer(ONE), answer(ONE), answer(TWO, epoch=1)], answer(ONE)).address == TWO


@pytest.mark.parametrize("known", [ONE, TWO])
def test_among_equals_the_known_one_stays(known: tuple[str, int]) -> None:
    assert chosen_of([answer(TWO), answer(ONE)], answer(known)).address == known
    assert chosen_of([answer(ONE), answer(TWO)], answer(known)).address == known


def test_among_equals_all_workers_choose_the_same_one() -> None:
    answers = [answer(ONE), answer(TWO)]
    assert chosen_of(answers, None) == chosen_of(answers[::-1], None)


def test_names_of_one_server_are_votes_for_it_and_the_name_of_most_counts() -> None:
    answers = [answer(TWO, "b"), answer(TWO, "b"), answer(ONE, "a"), answer(ONE, "a"), answer(NAME, "a")]
    assert chosen_of(answers, answer(TWO, "b")).address == ONE
    assert chosen_of(answers[2:], answer(NAME, "a")).address == ONE
    assert chosen_of(answers[3:], answer(NAME, "a")).address == NAME


def test_a_majority_that_contradicts_itself_does_not_end_the_search() -> None:
    assert not is_settled([answer(ONE)], 3)
    assert is_settled([answer(ONE), answer(ONE)], 3)
    assert not is_settled([answer(TWO), answer(ONE)], 3)
    assert is_settled([answer(TWO), answer(ONE), answer(ONE)], 3)
    # An older answer contradicts nothing: during a failover, nobody waits for a third one.
    assert is_settled([answer(ONE), answer(TWO, epoch=1)], 3)


def test_a_minority_does_not_replace_the_known_master() -> None:
    assert not outvotes(answer(TWO), answer(ONE), [answer(TWO)], 3)
    assert outvotes(answer(TWO), answer(ONE), [answer(TWO), answer(TWO)], 3)
    assert outvotes(answer(TWO, epoch=1), answer(ONE), [answer(TWO, epoch=1)], 3)
    assert not outvotes(answer(TWO), answer(ONE, epoch=1), [answer(TWO), answer(TWO)], 3)
    # Nor does another name replace that of the same server.
    assert not outvotes(answer(NAME, "a"), answer(ONE, "a"), [answer(NAME, "a"), answer(TWO, "a")], 3)


def test_a_sentinel_that_disagrees_for_long_is_logged_once_and_named_to_operators(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [100.0]
    dissent = Dissent(lambda: now[0])
    answers = [answer(ONE, sentinel=1), answer(TWO, sentinel=2)]
    for _ in range(5):
        dissent.note(answers, answers[0])
        now[0] += 10
    assert dissent.text == "the sentinel s:2 names another master: 10.0.0.2:6379"
    assert caplog.messages == [
        "the sentinel s:2 has named another master for 40 s: 10.0.0.2:6379, and this worker uses 10.0.0.1:6379, as the "
        "other sentinels name it; correct the configuration of the sentinel"
    ]
    dissent.note([answer(ONE, sentinel=2)], answers[0])
    assert dissent.text == ""


def test_a_sentinel_that_leads_a_failover_or_has_gone_is_not_named() -> None:
    now = [100.0]
    dissent = Dissent(lambda: now[0])
    leads = answer(TWO, sentinel=2)._replace(switching=True)
    for second in range(100):
        now[0] = float(second)
        dissent.note([answer(ONE, sentinel=1), leads], answer(ONE))
    assert dissent.text == ""
    for second in range(100, 200):
        now[0] = float(second)
        dissent.note([answer(TWO, sentinel=3)], answer(ONE))
    assert dissent.text
    now[0] += 60
    assert dissent.text == ""
