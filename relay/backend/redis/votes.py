"""The answers of several sentinels: which one counts, and which sentinels disagree with it for long."""

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from relay.backend.redis.replies import shown
from relay.config.redis_url import Address
from relay.limits import Clock

log = logging.getLogger("relay.backend.redis")

_LONG: Final = 30.0
"""Seconds for which a sentinel must name another master until operators are told; some lag behind a failover."""


class Answer(NamedTuple):
    """The answer of a sentinel; of two, the one with the higher epoch is newer.

    Of two with the same epoch, the one that is not `switching` is newer: its sentinel does not lead a failover. `run`
    is the run id of the master, "" if the sentinel does not know it.
    """

    epoch: int
    switching: bool
    address: Address
    run: str = ""
    sentinel: Address = ("", 0)

    @property
    def age_key(self) -> tuple[int, bool]:
        """A key by which newer answers come after older ones."""
        return self.epoch, not self.switching

    def is_of(self, other: "Answer") -> bool:
        """Whether both name the same server, perhaps by two names."""
        return self.address == other.address or bool(self.run and self.run == other.run)


def newest_of(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of which none is newer than another."""
    newest = max(one.age_key for one in answers)
    return [one for one in answers if one.age_key == newest]


def chosen_of(answers: Sequence[Answer], known: Answer | None) -> Answer:
    """Return the newest answer; of several, the one whose server most sentinels name, by the name that most use.

    Among equals, the known one stays. If none is known, all workers choose the same one.
    """
    newest = newest_of(answers)

    def rank(one: Answer) -> tuple[int, bool, int, bool, Address]:
        is_known = known is not None and one.is_of(known)
        same_name = known is not None and one.address == known.address
        return _votes(one, newest), is_known, _names(one, newest), same_name, one.address

    return max(newest, key=rank)


def is_settled(answers: Sequence[Answer], sentinels: int) -> bool:
    """Whether no further answer is needed: a majority has answered, and the newest answers do not contradict.

    If they do, a majority must name the same address.
    """
    if len(answers) <= sentinels // 2:
        return False
    newest = newest_of(answers)
    return len({one.address for one in newest}) == 1 or max(_names(one, newest) for one in newest) > sentinels // 2


def outvotes(chosen: Answer, known: Answer, answers: Sequence[Answer], sentinels: int) -> bool:
    """Whether a chosen answer replaces the known one at once.

    A newer one does, and one that has the same address. Of the same age, another server, or another name of the same
    server, must be that of a majority of all sentinels: the others may only be late with their answers.
    """
    if chosen.age_key != known.age_key:
        return chosen.age_key > known.age_key
    count = _names if chosen.is_of(known) else _votes
    return chosen.address == known.address or count(chosen, newest_of(answers)) > sentinels // 2


def _votes(one: Answer, answers: Sequence[Answer]) -> int:
    return sum(other.is_of(one) for other in answers)


def _names(one: Answer, answers: Sequence[Answer]) -> int:
    return sum(other.address == one.address for other in answers)


class _Other(NamedTuple):
    since: float
    heard: float
    address: Address


class Dissent:
    """The sentinels that name another Redis than the master which the worker uses; each is logged once it does so long.

    It is logged again only if it has agreed in between. One that leads a failover names the old master for a while, and
    does not count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._others: dict[Address, _Other] = {}
        self._logged = set[Address]()

    @property
    def text(self) -> str:
        """The sentinels that have disagreed for long, for operators; "" if none has."""
        now = self._clock()
        lasting = [
            f"the sentinel {shown(sentinel)} names another master: {shown(other.address)}"
            for sentinel, other in self._others.items()
            if sentinel in self._logged and now - other.heard <= _LONG
        ]
        return "; ".join(lasting)

    def note(self, answers: Sequence[Answer], master: Answer) -> None:
        """Take the answers of one question, and the one that counts."""
        now = self._clock()
        for answer in answers:
            if answer.switching or answer.is_of(master):
                self._others.pop(answer.sentinel, None)
                self._logged.discard(answer.sentinel)
                continue
            known = self._others.get(answer.sentinel)
            since = now if known is None else known.since
            self._others[answer.sentinel] = _Other(since, now, answer.address)
            if now - since > _LONG and answer.sentinel not in self._logged:
                self._logged.add(answer.sentinel)
                log.warning(
                    "the sentinel %s has named another master for %.0f s: %s, and this worker uses %s, as the other "
                    "sentinels name it; correct the configuration of the sentinel",
                    shown(answer.sentinel), now - since, shown(answer.address), shown(master.address),
                )  # fmt: skip
