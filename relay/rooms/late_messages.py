"""Messages that wait for their receivers to join. The backend keeps them, so that they outlive the sender's worker."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from msgspec import structs

from relay.backend.waiting import WaitingMessages
from relay.model.commands import Publish
from relay.model.envelope import read_envelope
from relay.model.errors import RelayError
from relay.model.publication import Receipt
from relay.model.waiting import WaitingMessage
from relay.tasks import BackgroundTasks

log = logging.getLogger("relay.rooms.late_messages")

PublishAs = Callable[[str, Publish, str], Awaitable[Receipt]]
"""Publishes a command to a room for a sender; raises `RelayError` if it was not sent."""


class LateMessages:
    """The record of messages that wait, for the sessions of this worker.

    `stores` tells whether messages of a room may be stored. The record is a second place beside the memory of the
    sender's worker. So nothing here fails: a message that Redis or a full record does not take waits in that memory
    alone. A message has the same key whichever worker delivers it: it arrives once.
    """

    def __init__(
        self,
        record: WaitingMessages,
        publish: PublishAs,
        stores: Callable[[str], Awaitable[bool]],
        tasks: BackgroundTasks,
    ) -> None:
        self._record = record
        self._stores = stores
        self._publish = publish
        self._tasks = tasks

    def keep(self, room: str, message: WaitingMessage) -> None:
        """Record a message, after those that were recorded before."""
        self._tasks.spawn(self._keep(room, message), "keep a message")

    def drop(self, room: str, sender: str, keys: Sequence[str] | None = None) -> None:
        """Forget messages of a sender, those with these keys or all: they were sent, or are not to be."""
        self._tasks.spawn(self._drop(room, sender, keys), "drop messages")

    def deliver(self, room: str, peer: str) -> None:
        """Deliver the messages that wait for a peer that has joined: the worker of their sender may be gone."""
        self._tasks.spawn(self._deliver(room, peer), "late messages")

    async def sent_by(self, room: str, peer: str) -> Sequence[WaitingMessage]:
        """Return the messages that wait from a peer, since it was here before."""
        return [message for message in await self._read(room, peer) if message.sender == peer]

    async def _read(self, room: str, peer: str) -> Sequence[WaitingMessage]:
        try:
            return await self._record.of(room, peer)
        except RelayError as error:
            log.debug("messages that wait in a room were not read: %s", error)
            return ()

    async def _keep(self, room: str, message: WaitingMessage) -> None:
        try:
            if await self._stores(room):
                await self._record.keep(room, message)
        except RelayError as error:
            log.debug("a message waits in this worker alone: %s", error)

    async def _drop(self, room: str, sender: str, keys: Sequence[str] | None) -> None:
        try:
            await self._record.drop(room, sender, keys)
        except RelayError as error:
            log.debug("messages that do not wait any more stay recorded: %s", error)

    async def _deliver(self, room: str, peer: str) -> None:
        for message in await self._read(room, peer):
            if message.receiver != peer or message.seconds <= 0:
                continue
            command = structs.replace(read_envelope(message.envelope), key=message.key)
            try:
                await self._publish(room, command, message.sender)
            except RelayError as error:
                # Its sender's worker, or the sender itself when it comes back, tries again.
                log.debug("a late message was not delivered: %s", error)
                return
            await self._drop(room, message.sender, [message.key])
