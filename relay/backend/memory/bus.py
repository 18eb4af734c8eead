"""The bus of a process on its own."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from relay.backend.bus import BusHealth, Published, Sink, no_such_peer, replay_of
from relay.backend.memory.state import MemoryRooms
from relay.limits import LogTerms
from relay.model.envelope import MessageId, Publication, Receipt, seal
from relay.model.errors import NotMember, Refused, RelayError, Replaced
from relay.model.events import Message, Replay, RoomEvent


class MemoryBus:
    """See `Bus`."""

    def __init__(self, sink: Sink, rooms: MemoryRooms, terms: LogTerms) -> None:
        self._sink = sink
        self._rooms = rooms
        self._terms = terms
        self._subscribed: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unsubscribe(list(self._subscribed))

    def publish(self, publication: Publication, done: Published) -> None:
        """See `Bus.publish`."""
        try:
            receipt = self._publish(publication)
        except RelayError as error:
            done(error)
        else:
            done(receipt)

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """See `Bus.subscribe`."""
        names = list(rooms)
        self._subscribed.update(names)
        self._rooms.listen(names, self._deliver)

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        """See `Bus.unsubscribe`."""
        names = list(rooms)
        self._subscribed.difference_update(names)
        self._rooms.ignore(names, self._deliver)

    async def replay(self, room: str, after: MessageId) -> Replay:
        """See `Bus.replay`."""
        newest, events = self._rooms.since(room, after)
        return replay_of(after, newest, events, self._terms)

    def health(self) -> BusHealth:
        """See `Bus.health`; there is nothing that could fail."""
        return BusHealth(ready=True, reachable=True, heard=0.0)

    def _deliver(self, batch: Sequence[RoomEvent]) -> None:
        self._sink(batch)

    def _publish(self, publication: Publication) -> Receipt:
        room = self._rooms.room(publication.room)
        if publication.generation:
            place = room.places.get(publication.sender)
            if place is None or place.generation < publication.generation:
                raise NotMember()
            if place.generation > publication.generation:
                raise Replaced()
        before = self._rooms.known(room, publication.sender, publication.key) if publication.key else None
        if before:
            return Receipt(str(before).encode(), repeat=True)
        if publication.after and not self._rooms.known(room, publication.sender, publication.after):
            raise Refused("out_of_order")
        absent = [peer for peer in publication.to if peer not in room.places]
        if absent:
            raise no_such_peer(absent)
        message_id = room.next_id()
        if publication.key:
            self._rooms.remember(room, publication.sender, publication.key, message_id)
        body = seal(publication.body, message_id)
        self._rooms.emit(
            Message(publication.room, message_id, publication.sender, publication.to, publication.channel, body)
        )
        return Receipt(str(message_id).encode())
