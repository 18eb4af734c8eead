"""The right to open a room that several pages ask for at the same time.

RTCMultiConnection asks whether a room exists, and then opens or joins it. Of pages that ask at once, each would hear
that there is none, and all but one would fail to open it. So the first one that asks has a moment to open it, and the
others are answered when it has, or when that moment is over.
"""

import asyncio
from typing import Final

from relay.gateways.socketio.apps.application import ClientPort

SECONDS: Final = 1.5
"""How long the first page that asks has, and how long the others wait at most."""

_STEP: Final = 0.1


class Reservation:
    """The rooms that one page may open before others: the one that it has asked for last."""

    __slots__ = ("_port", "_room", "_until")

    def __init__(self, port: ClientPort) -> None:
        self._port = port
        self._room = ""
        self._until = 0.0

    async def take(self, room: str) -> bool:
        """Return whether the page may open a room that does not exist, now that nobody else has asked for it."""
        now = self._port.worker.clock()
        if room == self._room and now < self._until:
            return True
        taken = await self._port.worker.reserve(room, SECONDS)
        if taken:
            self._room, self._until = room, now + SECONDS
        return taken

    async def wait(self, room: str) -> bool:
        """Wait until the page that may open the room has done so; False if it does not."""
        for _ in range(round(SECONDS / _STEP)):
            await asyncio.sleep(_STEP)
            if (await self._port.worker.roster(room, 0)).count:
                return True
        return False
