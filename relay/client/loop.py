"""Connecting and reconnecting, until the relay closes for good."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from relay.client.backoff import Backoff
from relay.client.connection import ConnectionEnd, RelayConnection
from relay.client.errors import Closed, NotAcknowledged
from relay.client.events import Event, Interrupted, NoToken
from relay.client.frames import FrameFields
from relay.client.options import Options, RoomRequest
from relay.client.outbox import Outbox
from relay.client.own_info import OwnInfo
from relay.client.position import RoomPosition
from relay.client.token import TokenFailed

log = logging.getLogger("relay.client")

_GOODBYE_TIME: Final = 1.5
"""Seconds for which a client tries again while its peer id is that of a connected member, which may be leaving."""


class ConnectionLoop:
    """Makes one connection after the other; each tries the next of `urls`.

    `deliver` gets the events of all connections, an `Interrupted` between them, and `NoToken` while none can be made.
    """

    def __init__(
        self,
        urls: Sequence[str],
        request: RoomRequest,
        options: Options,
        position: RoomPosition,
        outbox: Outbox,
        info: OwnInfo,
        *,
        deliver: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._urls = itertools.cycle(urls)
        self._request = request
        self._options = options
        self._position = position
        self._outbox = outbox
        self._info = info
        self._deliver = deliver
        self._backoff = Backoff(draw=options.draw)
        self._taken_backoff = Backoff(cap=1.0, draw=options.draw)
        self._taken_since: float | None = None
        self._connection: RelayConnection | None = None
        self._stopped = False
        self.joined = asyncio.Event()
        self.last_end = ConnectionEnd("", "")
        self.connected = False
        self.reconnects = -1

    async def run(self) -> Closed | None:
        """Connect until the relay closes for good, and return why; None after `close`."""
        self._store_key()
        while True:
            self._connection = RelayConnection(
                self._request,
                self._options,
                self._position,
                self._outbox,
                self._info,
                deliver=self._deliver,
                on_welcome=self._welcomed,
            )
            end = self.last_end = await self._connection.run(next(self._urls))
            was_connected, self.connected = self.connected, False
            if self._stopped:
                return None
            taken = self._may_become_free(end)
            if end.final and not taken:
                return Closed(end.code, end.text)
            if was_connected:
                await self._deliver(Interrupted(end.code, end.text))
            elif end.code == TokenFailed.code and self.joined.is_set():
                await self._deliver(NoToken(end.code, end.text))
            backoff = self._taken_backoff if taken else self._backoff
            delay = backoff.soon() if end.elsewhere else backoff.next(at_least=end.retry_after)
            log.info("%s: %s (%s); reconnecting in %.2f s", self._request.room, end.text, end.code, delay)
            await asyncio.sleep(delay)

    def wake(self) -> None:
        """Send the envelopes that were added to the outbox, and a new info; without a connection, the next one does."""
        if self._connection is not None:
            self._connection.wake()

    async def request(self, command: Mapping[str, Any]) -> FrameFields:
        """Send a command over the present connection, as `RelayConnection.request`."""
        if self._connection is None:
            raise NotAcknowledged(possibly_sent=False)
        return await self._connection.request(command)

    def drop(self) -> None:
        """Abort the connection without a close frame."""
        if self._connection is not None:
            self._connection.drop()

    async def close(self) -> None:
        """Close the connection, and make no other."""
        self._stopped = True
        if self._connection is not None:
            await self._connection.close()

    def _may_become_free(self, end: ConnectionEnd) -> bool:
        """Return whether the peer id is in use and may become free soon: its member is held, or may be leaving."""
        if end.code != "peer_taken":
            return False
        now = asyncio.get_running_loop().time()
        if end.held or self._taken_since is None:
            self._taken_since = now
        return now - self._taken_since < _GOODBYE_TIME

    def _store_key(self) -> None:
        """Hand the present resume key to the program, which may store it for a restart."""
        if self._request.store_key is None:
            return
        try:
            self._request.store_key(self._position.resume)
        except Exception:
            log.exception(
                "%s: the program failed to store the resume key; it cannot resume this membership after a restart",
                self._request.room,
            )

    def _welcomed(self) -> None:
        self._backoff.reset()
        self._taken_backoff.reset()
        self._taken_since = None
        self._store_key()
        self.connected = True
        self.reconnects += 1
        self.joined.set()
