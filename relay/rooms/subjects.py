"""Subjects: which members of this worker have one, and where a subject is in the fleet."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final

from relay.backend.subjects import SUBJECT_TTL, Place, Subjects
from relay.rooms.member import Member
from relay.tasks import BackgroundTasks

_ROUND: Final = SUBJECT_TTL / 3
"""Seconds in which all records are renewed once."""

_STEPS: Final = 40
"""Parts of a round, so that the records are not renewed in one turn."""


class SubjectTracker:
    """Keeps the records of members that have a subject; the task runs while there are such members.

    A gateway may record memberships under names of its own: names of another `kind` are no subjects of tokens.
    """

    def __init__(
        self, subjects: Subjects, tasks: BackgroundTasks, *, kind: str = "", pause: float = _ROUND / _STEPS
    ) -> None:
        self._subjects = subjects
        self._kind = f"\0{kind} " if kind else ""
        self._tasks = tasks
        self._pause = pause
        self._members: dict[Member, str] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many members have a subject."""
        return len(self._members)

    def begin(self, member: Member, subject: str) -> None:
        """Record a member that has joined; without a subject, there is nothing to record."""
        if not subject:
            return
        self._members[member] = subject = self._kind + subject
        self._subjects.note(subject, _place(member))
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._run(), "subjects")

    def end(self, member: Member, *, keep: bool = False) -> None:
        """Remove the record of a member that leaves, or whose connection is lost; to `keep` it, renew it once more."""
        subject = self._members.pop(member, None)
        if subject is not None:
            change = self._subjects.note if keep else self._subjects.forget
            change(subject, _place(member))

    def note_again(self) -> None:
        """Renew all records now: Redis may have lost them."""
        for member, subject in self._members.items():
            self._subjects.note(subject, _place(member))

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        """Return up to `limit` places in which a subject is connected; raises `Unavailable` or `OutcomeUnknown`."""
        return await self._subjects.find(self._kind + subject, limit)

    async def _run(self) -> None:
        """Renew all records again and again, a part of them at a time, until there are none."""
        while self._members:
            size = -(-len(self._members) // _STEPS)
            waiting = list(self._members)
            for start in range(0, len(waiting), size):
                await asyncio.sleep(self._pause)
                for member in islice(waiting, start, start + size):
                    subject = self._members.get(member)
                    if subject is not None:
                        self._subjects.note(subject, _place(member))


def _place(member: Member) -> Place:
    return Place(member.room, member.peer)
