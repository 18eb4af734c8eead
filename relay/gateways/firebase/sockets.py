"""The session of a client that has a WebSocket, whose messages may come in several frames."""

import asyncio

from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import WebSocketSession
from relay.gateways.firebase.codec import IGNORED
from relay.gateways.firebase.parts import Parts, count_in
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.session import FirebaseSession, RoomConnection
from relay.model.codec import Frame
from relay.model.errors import REPLACED, UNFINISHED, BadFrame
from relay.rooms.admissions import Ticket
from relay.rooms.worker import Worker


class FirebaseSocketSession(FirebaseSession, WebSocketSession):
    """Puts the parts of messages together. It is one of the worker's `sockets`, by its secret `id`."""

    __slots__ = ("_parts", "_sockets", "id")

    def __init__(
        self,
        connection: RoomConnection,
        worker: Worker,
        codecs: CodecPair[Frame],
        ticket: Ticket,
        places: Places,
        sockets: "dict[str, FirebaseSocketSession]",
    ) -> None:
        super().__init__(connection, worker, codecs, ticket, places)
        self._parts: Parts | None = None
        self.id = worker.session_ids.issue()
        self._sockets = sockets
        sockets[self.id] = self

    def leave(self) -> "asyncio.Future[None] | None":
        """End the session, and close its connection, which the client has no more."""
        left = super().leave()
        self._connection.close(REPLACED)
        return left

    def disconnected(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """End the session."""
        self._sockets.pop(self.id, None)
        return super().disconnected(code, relay_closed)

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """End the session."""
        if self._parts is not None:
            self._parts.stop()
            self._parts = None
        return super().end(goodbye=goodbye)

    def received(self, incoming: Frame) -> None:
        """Take a frame: a message, a keepalive, the number of the parts of a message, or one of these."""
        if self._parts is not None:
            self._add_part(self._parts, incoming.data)
            return
        count = count_in(incoming.data)
        if count is None:
            super().received(incoming)
            return
        self._metrics.messages_in += 1
        if count:
            most = self._worker.settings.max_message
            buffer = self.ticket.buffer(self._drop_parts)
            self._parts = Parts(count, most, buffer, self._worker.settings.message_timeout, self._drop_parts)
        self.execute(IGNORED, len(incoming.data))

    def _add_part(self, parts: Parts, part: bytes) -> None:
        parts.add(part)
        if not parts.complete:
            self._metrics.messages_in += 1
            self._metrics.bytes_in += len(part)
            self.execute(IGNORED, len(part))
            return
        self._parts = None
        message = parts.message()
        if message is not None:
            super().received(message)
        else:
            key = "" if parts.number is None else str(parts.number)
            self.execute(BadFrame("too_large", about="request", key=key), len(part))

    def _drop_parts(self) -> None:
        if self._parts is not None:
            self._parts.stop()
            self._parts = None
        self._connection.close(UNFINISHED)
