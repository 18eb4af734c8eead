"""Messages that wait for absent members, in a process without Redis."""

from collections.abc import Sequence

from msgspec.structs import replace

from relay.backend.waiting import MOST_WAITING, MOST_WAITING_BYTES, WAITING_TTL
from relay.limits import Clock
from relay.model.waiting import WaitingMessage

_Record = dict[tuple[str, str], tuple[WaitingMessage, float]]


class MemoryWaitingMessages:
    """A dictionary for each room: sender and key → the message, and the time at which its wait ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rooms: dict[str, _Record] = {}

    def __contains__(self, room: object) -> bool:
        """Return whether messages wait in a room."""
        return room in self._rooms

    async def keep(self, room: str, message: WaitingMessage) -> bool:
        """Keep as wait.lua does."""
        self._forget_expired()
        record = self._rooms.setdefault(room, {})
        size = len(message.envelope) + sum(len(one.envelope) for one, _ in record.values())
        if len(record) >= MOST_WAITING or size > MOST_WAITING_BYTES:
            return False
        record[message.sender, message.key] = message, self._clock() + message.seconds
        return True

    async def of(self, room: str, peer: str) -> Sequence[WaitingMessage]:
        """Look through the room's record."""
        self._forget_expired()
        now = self._clock()
        return [
            replace(message, seconds=ends - now)
            for message, ends in self._rooms.get(room, {}).values()
            if peer in (message.sender, message.receiver)
        ]

    async def drop(self, room: str, sender: str, keys: Sequence[str] | None = None) -> None:
        """Drop as wait_over.lua does."""
        record = self._rooms.get(room, {})
        for place in [place for place in record if place[0] == sender and (keys is None or place[1] in keys)]:
            del record[place]
        if not record:
            self._rooms.pop(room, None)

    def _forget_expired(self) -> None:
        expired = self._clock() - WAITING_TTL
        for room, record in [*self._rooms.items()]:
            for place in [place for place, (_, ends) in record.items() if ends < expired]:
                del record[place]
            if not record:
                del self._rooms[room]
