"""The ids that the next messages of a room are expected to get."""

from typing import Final

from relay.model.envelope import MessageId

CAREFUL: Final = 16
"""Calls without a surprise after which the next ids of a room count as known again."""


class ExpectedIds:
    """Expects that the next messages of a room get the ids after those that the worker knows of.

    A published text has its id in it. Where the worker puts the id in, Redis publishes the text as it comes; else the
    script makes the text anew, which costs as much as a fourth of a message. A wrong id costs that, and a little more.
    Ids are wrong where another worker publishes at the same time.
    """

    __slots__ = ("_epoch", "_newest", "_taken", "right")

    def __init__(self) -> None:
        self._epoch = 0
        # The newest sequence number once all calls are carried out, and how many numbers all calls have taken so far.
        self._newest = 0
        self._taken = 0
        self.right = CAREFUL
        """Calls in a row that got the ids that were expected."""

    def take(self, seen: MessageId, number: int) -> tuple[int, int]:
        """Take the ids of so many messages; `seen` is the newest id that the worker has seen in the room.

        Returns the expected sequence number of the last one, and a mark for `learn`.
        """
        if seen.epoch != self._epoch:
            self._epoch, self._newest = seen.epoch, 0
        newest = self._newest
        self._newest = (newest if newest > seen.seq else seen.seq) + number
        self._taken += number
        return self._newest, self._taken

    def learn(self, expected: int, mark: int, newest: int) -> None:
        """Note the sequence number that the last message of a call has got."""
        if newest == expected:
            self.right += 1
        else:
            self.right = 0
            # The messages of later calls follow it.
            self._newest = newest + self._taken - mark

    def forget(self) -> None:
        """Note that a call was not carried out as expected: some of its messages have other ids, or none."""
        self.right = self._newest = 0
