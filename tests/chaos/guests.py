"""Members who come and go while a fault lasts, and say nothing: what the others see of them has to come true."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from relay.client import Closed, Room, join
from tests.chaos.crowd import CLIENT, Crowd

_SPAN = 1.0
"""Seconds from the beginning of a fault within which guests come and go."""


@dataclass
class Guest:
    """One of them, under a name that nobody else in the room has."""

    place: tuple[str, str]
    room: Room
    act: Callable[["Guest"], Awaitable[None]]
    at: float


class Guests:
    """A third of them says goodbye, a third is lost without a word and for good, a third comes.

    Who goes is no longer expected from the moment it turns to go; who comes, once it was let in.
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
        """When the last of them was to go or to come."""
        self._acting: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    def _room(self, name: str) -> Room:
        urls = list(self._field.addresses)
        self._field.draw.shuffle(urls)
        return join(urls, name, peer="guest", presence=True, options=CLIENT)

    @property
    def rooms(self) -> list[str]:
        """Where they come and go."""
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
        """Let them begin."""
        self.gone = asyncio.get_running_loop().time() + max(guest.at for guest in self._guests)
        self._acting = {asyncio.create_task(self._act(guest)) for guest in self._guests}

    def unfinished(self) -> list[str]:
        """Who is still about to go, or is not let in."""
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
        # Who has no connection any more leaves without a word.
        await guest.room.leave()
