"""A WebSocket that is about to replace a session's polling.

The client opens the WebSocket with the session's id and sends the ping `2probe`. The relay answers `3probe`. From then
on the relay answers each poll at once, with a noop packet if there is nothing else, so that no poll stays open. When
the client has its last poll's answer, it sends an upgrade packet, `5`, and both sides use only the WebSocket.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from relay.gateways.base.websocket import Opening
from relay.gateways.socketio.engine import EngineSession
from relay.model.codec import Frame
from relay.model.errors import BAD_PACKET, NORMAL
from relay.rooms.connection import Connection, Receiver

_PROBE: Final = b"2probe"
_PROBE_ANSWER: Final = Frame(b"3probe")
_UPGRADE: Final = b"5"
_RELEASE_SECONDS: Final = 0.1
"""Between two looks for an open poll."""


class Upgrade:
    """The `Receiver` of the WebSocket: it runs the handshake above, and then passes everything to the session."""

    __slots__ = ("_connection", "_deadline", "_release_timer", "_session", "_upgraded")

    def __init__(self, session: EngineSession, connection: Connection) -> None:
        self._session = session
        self._connection = connection
        self._upgraded = False
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(session.worker.settings.handshake_timeout, self.abandon)
        self._release_timer: asyncio.TimerHandle | None = None
        session.upgrade = self

    def received(self, frame: Frame) -> None:
        """Take a step of the handshake; after it, pass the message to the session."""
        if self._upgraded:
            self._session.received(frame)
        elif frame.is_text and frame.data == _PROBE and self._release_timer is None:
            self._connection.write(_PROBE_ANSWER)
            self._release_polls()
        elif frame.is_text and frame.data == _UPGRADE and self._session.upgrade is self and not self._session.closing:
            self._stop()
            self._upgraded = True
            self._session.upgraded(self._connection)
        else:
            self._connection.close(BAD_PACKET)

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched; the session pings it, and not the WebSocket."""
        return self._session.watched

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        """End the session if it is on this WebSocket; otherwise it goes on polling."""
        if self._upgraded:
            self._session.disconnected(code, relay_closed)
        else:
            self._stop()

    def abandon(self) -> None:
        """Close the WebSocket: the client took too long, or the session has ended."""
        self._stop()
        if not self._upgraded:
            self._connection.close(NORMAL)

    def _release_polls(self) -> None:
        if self._session.polling is not None:
            self._session.polling.release_poll()
        self._release_timer = asyncio.get_running_loop().call_later(_RELEASE_SECONDS, self._release_polls)

    def _stop(self) -> None:
        self._deadline.cancel()
        if self._release_timer is not None:
            self._release_timer.cancel()
        if self._session.upgrade is self:
            self._session.upgrade = None


def upgrading(session: EngineSession) -> Opening:
    """Return the function that upgrades a session on a WebSocket, for `gateways.base.websocket.accept`.

    The WebSocket needs no ticket: the session has one since it began.
    """

    def begin(connection: Connection) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        return Upgrade(session, connection), _nothing()

    return begin


async def _nothing() -> None:
    """Wait for the client, which sends the first message."""
