"""The common part of members that are not `relay.client`."""

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Self

from relay.client import Closed, Envelope, Event, Left, Lost
from relay.model.envelope import MessageId
from tests.fleet import eventually


class Reference:
    """The common part of clients that are not `relay.client`: their callbacks as events.

    `again` has the messages that came twice, on either side of a loss: for each, how many seconds before the loss it
    came first. `disordered` counts the messages that the client itself has found to be out of order.
    """

    def __init__(self) -> None:
        self.again: list[float] = []
        self.members: set[str] | None = set()
        self.duplicates = 0
        self.disordered = 0
        self.welcomes = 0
        self._events: asyncio.Queue[Event | Closed | None] = asyncio.Queue()

    @property
    def reconnects(self) -> int:
        return self.welcomes - 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, Closed):
            raise event
        return event

    def heard(self) -> list[Event | Closed | None]:
        """Take all events that wait."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    def put(self, event: Event) -> None:
        """Pass an event on."""
        self._events.put_nowait(event)

    def gone(self, peer: str) -> None:
        """Take note that the relay says of a member that it has left."""
        self._events.put_nowait(Left(peer))

    def on_event(self, kind: str, value: Any) -> None:
        """Take an event of the client."""
        if kind == "message":
            self._events.put_nowait(Envelope(MessageId.parse(value["id"]), value["from"], value))
        elif kind == "lost":
            self._events.put_nowait(Lost(value))
        else:
            for peer in (self.members or set()) - set(value):
                self._events.put_nowait(Left(peer))
            self.members = set(value)

    def on_end(self, code: int, *, left: bool) -> None:
        """Take the end of the client."""
        self._events.put_nowait(
            None if left else Closed(str(code), f"the relay closed the reference client with {code}")
        )


class RunningMember(Reference, ABC):
    """A member that one task keeps in its room, from its entry until it leaves; `_left` says that it is to leave."""

    def __init__(self) -> None:
        super().__init__()
        self._left = False
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        await eventually(lambda: self.welcomes, 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        await self.leave()
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._close()

    @abstractmethod
    async def leave(self) -> None:
        """Leave the room."""

    @abstractmethod
    async def _run(self) -> None:
        """Enter the room, again after each loss, until the member has left."""

    async def _close(self) -> None:
        """Close the connections that are left."""


def lose(transport: asyncio.Transport) -> None:
    """End a connection without a goodbye, unless it has ended; the client reads all that has arrived until then.

    The bytes that the system has acknowledged must reach the client: the relay takes them for received. The system
    acknowledges none after the shutdown.
    """
    protocol = transport.get_protocol()
    if protocol is None:
        # The client was told of the end of this connection, and has no other one yet.
        return
    assert isinstance(protocol, asyncio.Protocol)
    with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
        while data := copy.recv(65_536):
            protocol.data_received(data)
    transport.abort()
