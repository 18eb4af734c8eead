"""Silent members that join and leave during a fault: the others must see each join and leave in the end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from relay.client import Closed, Room, join
from tests.chaos.crowd import Crowd
from tests.chaos.members import options

_SPAN = 1.0
"""Seconds from the beginning of a fault within which guests join and leave."""


@dataclass
class Guest:
    """One guest, with a name that is unique in its room."""

    place: tuple[str, str]
    room: Room
    act: Callable[["Guest"], Awaitable[None]]
    at: float


class Guests:
    """A third of the guests leaves, a third loses its connection for good, a third joins.

    A guest is no longer expected from the moment it starts to leave, and expected as soon as it has joined.
    """

    def __init__(self, field: Crowd, number: int) -> None:
        rooms = field.draw.sample(list(field.expected), number)
        acts = (self._say_goodbye, self._get_lost, self._come)
        self._field = field
        self._guests = [
            Guest((name, "guest"), self._room(name), acts[turn % len(acts)], field.draw.uniform(0, _SPAN))
            for turn, name in enumerate(rooms)
        ]
        self.gone = 0.0
        """The time at which the last guest was due."""
        self._acting: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    def _room(self, name: str) -> Room:
        urls = list(self._field.addresses)
        self._field.draw.shuffle(urls)
        return join(urls, name, peer="guest", presence=True, options=options(self._field.slow))

    @property
    def rooms(self) -> list[str]:
        """The rooms of all guests."""
        return [guest.place[0] for guest in self._guests]

    async def __aenter__(self) -> Self:
        for guest in self._guests:
            if guest.act != self._come:
                await self._come(guest)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._acting:
            task.cancel()
        await asyncio.gather(*self._acting, return_exceptions=True)
        await self._stack.aclose()

    def go(self) -> None:
        """Start the joins and leaves."""
        self.gone = asyncio.get_running_loop().time() + max(guest.at for guest in self._guests)
        self._acting = {asyncio.create_task(self._act(guest)) for guest in self._guests}

    def unfinished(self) -> list[str]:
        """The guests that have not left or joined yet."""
        return [
            f"{guest.place} is {'absent' if guest.act == self._come else 'present'}"
            for guest in self._guests
            if (guest.place[1] in self._field.expected[guest.place[0]]) != (guest.act == self._come)
        ]

    async def _act(self, guest: Guest) -> None:
        await asyncio.sleep(guest.at)
        with contextlib.suppress(Closed):
            await guest.act(guest)

    async def _come(self, guest: Guest) -> None:
        await self._stack.enter_async_context(guest.room)
        self._field.enter(guest.place, guest.room)

    async def _say_goodbye(self, guest: Guest) -> None:
        self._field.leave(guest.place)
        await guest.room.leave()

    async def _get_lost(self, guest: Guest) -> None:
        self._field.leave(guest.place)
        guest.room.drop()
        # Without a connection, leaving sends nothing.
        await guest.room.leave()
