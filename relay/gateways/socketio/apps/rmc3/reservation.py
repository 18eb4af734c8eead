"""The right to open a room that several pages ask for at the same time.

RTCMultiConnection asks whether a room exists, and then opens or joins it. Of pages that ask at once, each would hear
that there is none, and all but one would fail to open it. So the first one that asks has a moment to open it. The
others are answered as soon as it has, or has gone to another room or away, or when that moment is over.

No message says whether a page asks in order to open the room. A page that lets its moment pass only looks: it is
answered at once when it asks for that room again, and keeps no other one waiting.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from relay.gateways.socketio.apps.port import ClientPort
from relay.model.errors import RelayError

SECONDS: Final = 1.5
"""How long the first page that asks has, and how long the others wait at most."""

_STEP: Final = 0.1


class Reservation:
    """The rooms that one page may open before others: the one that it has asked for last."""

    __slots__ = ("_owner", "_port", "_room", "_until")

    def __init__(self, port: ClientPort) -> None:
        self._port = port
        # The room for which the page was told last that it does not exist.
        self._room = ""
        self._until = 0.0
        # Of the present reservation alone: another page may have the next one of the room.
        self._owner = ""

    async def is_opened(self, room: str, exists: Callable[[], Awaitable[bool]]) -> bool:
        """Return whether another page has opened a room that did not exist; if not, this one may.

        `exists` asks for the room. Waits while another page has the right to open it.
        """
        port = self._port
        if room == self._room or port.worker.settings.closed_rooms == "on":
            return False
        end = port.worker.clock() + SECONDS
        while not await self._take(room):
            if port.worker.clock() >= end:
                self._room, self._until = room, 0.0
                return False
            await asyncio.sleep(_STEP)
            if await exists():
                return True
        # The one that has just given the right back may have opened it.
        return await exists()

    @property
    def is_held(self) -> bool:
        """Whether others wait for this page."""
        return bool(self._room) and self._port.worker.clock() < self._until

    async def _take(self, room: str) -> bool:
        now = self._port.worker.clock()
        owner = self._port.worker.random.peer_id()
        taken = await self._port.worker.reserve(room, SECONDS, owner)
        if taken:
            await self.give_back()
            self._room, self._until, self._owner = room, now + SECONDS, owner
        return taken

    async def give_back(self) -> None:
        """Let others open the room: this page has entered one, or has gone."""
        room, is_held, self._room = self._room, self.is_held, ""
        if is_held:
            try:
                await self._port.worker.give_back(room, self._owner)
            except RelayError:
                # It ends by itself.
                return
