"""The calls between pages of RTCMultiConnection after a fault, and the signals that they sent."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from websockets.exceptions import ConnectionClosed

from tests.chaos.rmc3_members import RmcMember
from tests.chaos.signals import Fates


@dataclass(frozen=True)
class Calls:
    """The state of all pages of a round at its end, and the fates of their signals.

    Pages have connected again so many times (`reconnects`). `rooms_gone` do not exist any more. `owners_lost` are rooms
    that the page that opened them does not own any more, or that another page was told it owns. `not_back` are pages,
    as room and name, that are not in their room. `errors` are those that the relay told pages.
    """

    pages: int
    reconnects: int
    signals_sent: int
    signals_received: int
    fates: Fates = field(default_factory=Fates)
    rooms_gone: list[str] = field(default_factory=list)
    owners_lost: list[str] = field(default_factory=list)
    not_back: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    async def count(cls, members: Mapping[tuple[str, str], object]) -> Self | None:
        """Ask all pages among the members of a round, by room and name; None if there are none."""
        pages = {place: member for place, member in members.items() if isinstance(member, RmcMember)}
        if not pages:
            return None
        states = dict(zip(pages, await asyncio.gather(*map(State.of, pages.values())), strict=True))
        return cls.of(states, pages.values())

    @classmethod
    def of(cls, states: Mapping[tuple[str, str], "State"], pages: Iterable[RmcMember]) -> Self:
        """Sum up the counts of the pages, and the answers that they got."""
        members = list(pages)
        rooms: dict[str, list[State]] = {}
        for (room, _), state in states.items():
            rooms.setdefault(room, []).append(state)
        return cls(
            pages=len(members),
            reconnects=sum(page.reconnects for page in members),
            signals_sent=sum(page.signals_sent for page in members),
            signals_received=sum(page.signals.received for page in members),
            fates=fates_of(members),
            rooms_gone=[room for room, all_ in rooms.items() if not any(state.sees_room for state in all_)],
            owners_lost=[room for room, all_ in rooms.items() if any(not state.is_owned_as_before for state in all_)],
            not_back=[place for place, state in states.items() if not state.is_in_room],
            errors=[error for page in members for error in page.errors],
        )

    @property
    def signals_lost(self) -> int:
        """How many signals the relay lost, whether it told somebody or not."""
        return self.fates.sender_told + self.fates.receiver_told + len(self.fates.silent)

    def faults(self) -> list[str]:
        """The broken promises as text."""
        silent = self.fates.silent
        wrong = {
            f"{len(silent)} signals lost in silence, such as {silent[:3]}": len(silent),
            f"{len(self.rooms_gone)} rooms gone, such as {self.rooms_gone[:3]}": len(self.rooms_gone),
            f"{len(self.owners_lost)} owners lost, such as {self.owners_lost[:3]}": len(self.owners_lost),
            f"{len(self.not_back)} pages not brought back, such as {self.not_back[:3]}": len(self.not_back),
        }
        return [text for text, count in wrong.items() if count]


def fates_of(pages: Iterable[RmcMember]) -> Fates:
    """Count the signals between pages by their fates."""
    by_place = {(page.room, page.peer): page for page in pages}
    fates = Fates()
    for page in by_place.values():
        for sent in page.sent:
            for receiver in sent.times:
                fates.add(sent, receiver, by_place[page.room, receiver].signals)
    return fates


@dataclass(frozen=True)
class State:
    """The answers of the relay to one page: `opened` says whether the page had opened its room, `told` that it owns it.

    `owns` is its answer to an attempt to set the password, None if it sees the page in no room.
    """

    sees_room: bool
    opened: bool
    told: bool
    owns: bool | None

    @property
    def is_in_room(self) -> bool:
        """Whether the page is in its room."""
        return self.owns is not None

    @property
    def is_owned_as_before(self) -> bool:
        """Whether the page owns its room exactly if it has opened it; one that is not back shows nothing."""
        return self.told == self.opened and self.owns in (self.opened, None)

    @classmethod
    async def of(cls, page: RmcMember) -> Self:
        """Ask the relay; a page that gets no answer is in no room."""
        try:
            (sees_room, *_) = await page.ask("check-presence", page.room)
            (owns, *_) = await page.ask("set-password", "")
        except (TimeoutError, ConnectionClosed):
            return cls(sees_room=False, opened=page.opened, told=page.owns, owns=None)
        return cls(sees_room=sees_room, opened=page.opened, told=page.owns, owns=owns)


_COLUMNS: Final[dict[str, Callable[[Calls], int]]] = {
    "pages": lambda calls: calls.pages,
    "connected again": lambda calls: calls.reconnects,
    "signals sent": lambda calls: calls.signals_sent,
    "received": lambda calls: calls.signals_received,
    "lost": lambda calls: calls.signals_lost,
    "rooms gone": lambda calls: len(calls.rooms_gone),
    "owners lost": lambda calls: len(calls.owners_lost),
    "not brought back": lambda calls: len(calls.not_back),
    "told of errors": lambda calls: len(calls.errors),
}


def calls_table(rounds: Iterable[tuple[str, Calls]]) -> str:
    """The sums over all rounds of each fault, by its name, as a Markdown table; "" if there are no pages."""
    by_fault: dict[str, list[Calls]] = {}
    for fault, calls in rounds:
        by_fault.setdefault(fault, []).append(calls)
    if not by_fault:
        return ""
    lines = ["| " + " | ".join(("Fault", "rounds", *_COLUMNS)) + " |", "| --- |" + " ---: |" * (len(_COLUMNS) + 1)]
    for fault, all_ in by_fault.items():
        sums = [len(all_), *(sum(count(calls) for calls in all_) for count in _COLUMNS.values())]
        lines.append(f"| {fault} | " + " | ".join(f"{one:,}" for one in sums) + " |")
    return "\n".join(lines)
