"""The sessions of hub clients: their common part, and that of a WebSocket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import structs

from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.session import Session, WebSocketSession
from relay.gateways.signalr.client import HubClient
from relay.gateways.signalr.codec import IGNORED, error_text
from relay.gateways.signalr.connection import HubConnection
from relay.gateways.signalr.handshake import read_handshake
from relay.gateways.signalr.messages import CLOSE, HubMessage
from relay.gateways.signalr.protocols import HubProtocol
from relay.model.codec import Encoder, Frame
from relay.model.commands import Command
from relay.model.errors import BAD_PACKET, NORMAL, Refused, RelayError
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection
from relay.rooms.worker import Worker

_NO_CODE: Final = 1005
"""The close code of a client that gave none: it has left if it said so before, and else dropped a dead connection."""

_LOST: Final = 1006

_CLOSE_AFTER: Final = 1.0
"""Seconds after the goodbye of a client in which it closes the connection itself."""


class HubSession(Session[Frame]):
    """The part of a session that does not depend on the transport; `hub` is the client."""

    __slots__ = ()

    hub: HubClient

    def take(self, data: bytes) -> Sequence[HubMessage]:
        """Read the messages of a frame; the first one of a client begins its stay.

        A client that breaks the protocol is told so, and its connection closed; the error is raised again (`Refused`).
        """
        hub = self.hub
        try:
            if hub.protocol is None:
                protocol, data = read_handshake(data)
                self._choose(protocol)
                if not data:
                    return ()
            else:
                protocol = hub.protocol
            return protocol.read(data)
        except Refused as error:
            self._break_off(error)
            raise

    def await_handshake(self) -> None:
        """End the session of a client that sends no handshake in time."""
        error = Refused("bad_packet", "the handshake did not come in time")
        self.hub.await_handshake(self._worker.settings.handshake_timeout, lambda: self._break_off(error))

    def received_message(self, message: HubMessage) -> None:
        """Serve a message; after a goodbye, none is."""
        if self.hub.left:
            return
        if message.kind == CLOSE:
            self.hub.left = True
            self.said_goodbye()
        else:
            super().received(message)

    def said_goodbye(self) -> None:
        """Let the client leave its rooms at once."""
        raise NotImplementedError

    def _choose(self, protocol: HubProtocol) -> None:
        hub = self.hub
        hub.stop_waiting()
        hub.protocol = protocol
        codecs = hub.codecs[protocol.name]
        self._codec, self._rooms.codecs = codecs.own, codecs
        self._worker.spawn(self.enter(lambda: hub.request))

    def held_place(self) -> HttpPlace | None:
        """Return the client's place with the key that proves it; None if it is in no room, or cannot come back."""
        return self.hub.place if self._rooms.is_in(self._rooms.own_room) else None

    def _proven(self, request: JoinRequest) -> JoinRequest:
        subject = "" if self._guard is None else self._guard.grants.subject
        return self.hub.proof.applied(request, subject, self._worker.fleet_key)

    async def _enter(self, request: JoinRequest) -> None:
        request = self._proven(structs.replace(request, peer=self.peer_id(request.peer)))
        self.hub.tracked = request.can_resume
        await super()._enter(request)
        self.hub.greeted = True
        self.hub.entered(structs.replace(request, peer=self._rooms.peer))
        if self.hub.protocol is not None:
            codecs = self.hub.codecs[self.hub.protocol.name]
            self._rooms.codecs = CodecPair(codecs.later, codecs.tagged)

    def _execute(self, command: Command) -> None:
        if command is not IGNORED:
            super()._execute(command)

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        # The error that part of a request was left out follows the welcome at once.
        if self.hub.greeted or self._rooms.memberships():
            super()._send_error(error, about=about, key=key, codec=codec, room=room)
        elif not self.hub.refused:
            self._metrics.refused(error.code)
            self._refuse(self.hub.refusal(error))

    def _refuse(self, answer: Frame) -> None:
        """Write the answer to a handshake that is refused."""
        self._connection.write(answer)

    def _break_off(self, error: Refused) -> None:
        self.hub.stop_waiting()
        self._metrics.refused(error.code)
        self.hub.fault = error_text(error.code, error.text)
        self._connection.close(BAD_PACKET)

    def _end_waiting(self) -> None:
        """Let a session end whose client has sent no handshake: no request waits for its join."""
        self.hub.stop_waiting()
        if self.hub.protocol is None:
            self._end_exclusive()


class SocketHub(HubSession, WebSocketSession):
    """The session of a client with a WebSocket; it is `Pinged`. `ended` is called with it at the end.

    The server sends WebSocket pings as well, by which it notices a lost client. Those of the hub only keep the client
    from giving the connection up.
    """

    __slots__ = ("_ended_callback", "_shown", "hub", "id", "keepalive_slot")

    def __init__(
        self,
        connection: Connection,
        worker: Worker,
        ticket: Ticket,
        hub: HubClient,
        session_id: str,
        ended: Callable[["SocketHub"], None],
    ) -> None:
        self.hub = hub
        self.id = session_id
        self.keepalive_slot = 0
        self._shown = HubConnection(connection, hub)
        self._ended_callback: Callable[[SocketHub], None] | None = ended
        super().__init__(self._shown, worker, hub.codecs["json"], ticket)
        self.await_handshake()

    def received(self, frame: Frame) -> None:
        """Serve the messages of a frame."""
        if self._connection.reason is not None or self.hub.left:
            return
        try:
            messages = self.take(frame.data)
        except Refused:
            return
        for message in messages:
            self.received_message(message)

    def said_goodbye(self) -> None:
        """Let the client leave its rooms, and close the connection if it does not."""
        self.end(goodbye=True)
        asyncio.get_running_loop().call_later(_CLOSE_AFTER, self._connection.close, NORMAL)

    def disconnected(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """End the session, and note the client's position."""
        if self._connection.reason is not None and code != _LOST:
            self._shown.closed_by_both()
        if self.hub.left:
            code = NORMAL.code
        elif code == _NO_CODE:
            code = _LOST
        received, members = self._shown.received(), self._rooms.memberships()
        if received is not None and members:
            self._worker.acknowledge(members[0], received)
        self._end_waiting()
        ended, self._ended_callback = self._ended_callback, None
        if ended is not None:
            ended(self)
        return super().disconnected(code, relay_closed)

    # Pinged.

    def ping(self) -> None:
        """Send the ping of the hub."""
        if self.hub.greeted and self.hub.protocol is not None:
            self._connection.write(self.hub.protocol.ping)

    def check(self) -> None:
        """Do nothing: the server notices by its own pings that a client is lost."""

    def _refuse(self, answer: Frame) -> None:
        self._shown.refuse(answer)
