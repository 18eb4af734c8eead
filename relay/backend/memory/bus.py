"""The bus of a single process."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from relay.backend.bus import BusHealth, Published, Sink, no_such_peer, replay_of
from relay.backend.memory.state import MemoryRooms
from relay.backend.settings import HistorySettings
from relay.model.envelope import BEFORE_ALL, MessageId, seal, splice
from relay.model.errors import NotMember, Refused, RelayError, Replaced
from relay.model.events import Message, Replay, RoomEvent
from relay.model.publication import Publication, Receipt


class MemoryBus:
    """Delivers publications to the listeners of the `MemoryRooms` that it shares with other workers."""

    def __init__(self, sink: Sink, rooms: MemoryRooms, history: HistorySettings) -> None:
        self._sink = sink
        self._rooms = rooms
        self._history = history
        self._subscribed: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unsubscribe(list(self._subscribed))

    def publish(self, publication: Publication, done: Published) -> None:
        """Publish as publish.lua does; `done` is called before this returns."""
        try:
            receipt = self._publish(publication)
        except RelayError as error:
            done(error)
        else:
            done(receipt)

    async def subscribe(self, rooms: Iterable[str]) -> None:
        """Listen to these rooms."""
        names = list(rooms)
        self._subscribed.update(names)
        self._rooms.listen(names, self._deliver)

    async def unsubscribe(self, rooms: Iterable[str]) -> None:
        """Stop listening to these rooms."""
        names = list(rooms)
        self._subscribed.difference_update(names)
        self._rooms.ignore(names, self._deliver)

    async def replay(self, room: str, after: MessageId) -> Replay:
        """Read the history of the room."""
        newest, events, stretches = self._rooms.since(room, after)
        history = self._history if self._rooms.keeps_history(room) else replace(self._history, size=0)
        return replay_of(after, newest, events, stretches, history)

    def health(self) -> BusHealth:
        """Return that all is well: there is nothing that can fail."""
        return BusHealth(ready=True, reachable=True, heard=0.0)

    def check(self, room: str) -> None:
        """Do nothing: no part can be away."""

    def _deliver(self, batch: Sequence[RoomEvent]) -> None:
        self._sink(batch)

    def _publish(self, publication: Publication) -> Receipt:
        room, command, sender = self._rooms.room(publication.room), publication.command, publication.sender
        began = BEFORE_ALL
        if publication.proof:
            entry = room.members.get(sender)
            if entry is None or entry.current != publication.proof:
                raise NotMember()
            began = entry.began
        elif publication.generation:
            entry = room.members.get(sender)
            if entry is None or entry.generation < publication.generation:
                raise NotMember()
            if entry.generation > publication.generation:
                raise Replaced()
            began = entry.began
        first = self._rooms.known(room, sender, publication.key, began) if publication.key else None
        if first and publication.is_repeat_of(first, room.epoch):
            return Receipt(str(first).encode(), repeat=True)
        if command.after and not self._rooms.known(room, sender, command.after, began):
            raise Refused("out_of_order")
        absent = [peer for peer in command.to if peer not in room.members]
        if absent:
            raise no_such_peer(absent)
        message_id = room.next_id()
        body = seal(splice(command.envelope, sender), message_id)
        stored = command.stored and self._rooms.stores(len(body))
        message = Message(publication.room, message_id, sender, command.to, command.channel, body)
        self._rooms.emit(message, stored=stored)
        if publication.key:
            self._rooms.remember(room, sender, publication.key, message_id)
        return Receipt(str(message_id).encode())
