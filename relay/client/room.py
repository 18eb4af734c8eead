"""A room, as its user sees it: send, hear, know who is there."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from relay.client.backoff import Backoff
from relay.client.connection import End, Options, RelayConnection, Request, base_of
from relay.client.errors import Closed, NotAcknowledged
from relay.client.events import Event, Interrupted
from relay.client.outbox import Item, Outbox
from relay.client.position import RoomPosition
from relay.model.envelope import MessageId

log = logging.getLogger("relay.client")

_DEFAULTS = Options()


def join(
    url: str | Sequence[str],
    room: str,
    *,
    peer: str = "",
    presence: bool = False,
    echo: bool = False,
    channels: Sequence[str] = (),
    options: Options = _DEFAULTS,
) -> "Room":
    """Enter a room, to be used with `async with`.

    `url` is where the relay is (`ws://`, `wss://`), or several such places: each new connection tries the next. `peer`
    is the id to have, one of the relay's choice without it. `presence` keeps `Room.members` and tells of joins and
    leaves; `echo` lets this client hear itself; `channels` are the only ones it hears, if there are any. Raises
    ValueError for what is no such address.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise ValueError("at least one address is needed")
    return Room([base_of(one) for one in urls], Request(room, peer, presence, echo, tuple(channels)), options)


class Room:
    """See `join`. Entering waits for the relay's welcome; leaving says goodbye, so that the others see it at once.

    Entering raises `Closed` if the relay refuses, or cannot be reached within `connect_timeout`.
    """

    def __init__(self, urls: Sequence[str], request: Request, options: Options) -> None:
        self._urls = itertools.cycle(urls)
        self._request = request
        self._options = options
        self._place = RoomPosition()
        self._outbox = Outbox(size=options.outgoing, window=options.window)
        self._incoming: asyncio.Queue[Event | None] = asyncio.Queue(options.incoming)
        self._connection: RelayConnection | None = None
        self._welcome = asyncio.Event()
        self._closed: Closed | None = None
        self._task: asyncio.Task[None] | None = None
        self._end = End("", "")
        self._leaving = False
        self.connected = False
        self.reconnects = -1

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep(), name=f"room {self._request.room}")
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                await self._welcome.wait()
        except TimeoutError:
            await self._stop()
            raise Closed(self._end.code or "timeout", self._end.text or "no welcome in time") from None
        except BaseException:
            await self._stop()
            raise
        if self._closed is not None:
            raise self._closed
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    # Who and how.

    @property
    def name(self) -> str:
        """The room's name."""
        return self._request.room

    @property
    def peer(self) -> str:
        """This client's id in the room, which the others see as an envelope's sender."""
        return self._place.peer

    @property
    def members(self) -> frozenset[str]:
        """Who is in the room, connected or expected back, this client included; empty without `presence`.

        The relay lists only so many by name (`presence-list`, 100): of a larger room, these and those who came since.
        """
        return frozenset(self._place.members)

    @property
    def first(self) -> bool:
        """Whether nobody else was in the room on arrival; of several who come at once, exactly one is first."""
        return self._place.first

    @property
    def id(self) -> MessageId:
        """The newest id that this client was told."""
        return self._place.id

    @property
    def resent(self) -> int:
        """How many envelopes were sent more than once, over all connections; each was delivered once."""
        return self._outbox.resent

    @property
    def duplicates(self) -> int:
        """How many envelopes came that had come before, and were dropped: none, if the relay does what it promises."""
        return self._place.duplicates

    # What to say.

    async def send(
        self,
        envelope: Mapping[str, Any],
        *,
        to: str | Sequence[str] | None = None,
        timeout: float | None = 30,  # noqa: ASYNC109  # what a user expects of a function that waits for others
    ) -> MessageId:
        """Send a JSON object to the room, or only to the peers in `to`; returns its id once the relay has it.

        Envelopes get their places in the room in the order of the calls, over as many connections as it takes, each
        once; how, is told in `relay.client.outbox`.

        Raises `Rejected` (the relay will not send it), `NotAcknowledged` (not within `timeout`), `QueueFull` or
        `Closed`. One that nobody waits for any longer (the time is up, the caller was cancelled) is not sent again.
        """
        item = None
        try:
            async with asyncio.timeout(timeout):
                if self._options.wait_for_space:
                    await self._outbox.space()
                item = self._take(envelope, to)
                return await item.done
        except TimeoutError:
            raise self._give_up(item) from None
        except asyncio.CancelledError:
            self._give_up(item)
            raise

    def _give_up(self, item: Item | None) -> NotAcknowledged:
        error = self._outbox.give_up(item) if item else NotAcknowledged(possibly_sent=False)
        if self._connection is not None:
            self._connection.wake()
        return error

    def post(self, envelope: Mapping[str, Any], *, to: str | Sequence[str] | None = None) -> asyncio.Future[MessageId]:
        """As `send`, without waiting, and without a limit in time: the future gets the id, or the error."""
        return self._take(envelope, to).done

    def _take(self, envelope: Mapping[str, Any], to: str | Sequence[str] | None) -> Item:
        if self._closed is not None:
            raise self._closed
        item = self._outbox.add(envelope if to is None else {**envelope, "to": to})
        if self._connection is not None:
            self._connection.wake()
        return item

    # What is heard.

    def __aiter__(self) -> AsyncIterator[Event]:
        """Events, until this client has left; raises `Closed` should the relay not want it back."""
        return self

    async def __anext__(self) -> Event:
        event = await self._incoming.get() if self._closed is None or not self._incoming.empty() else None
        if event is not None:
            return event
        if not self._incoming.full():
            # Others may be waiting, too.
            self._incoming.put_nowait(None)
        if self._closed is None or self._closed.code == "left":
            raise StopAsyncIteration
        raise self._closed

    # How it ends.

    async def leave(self) -> None:
        """Send what waits, within `close_timeout`, and say goodbye.

        Without a connection there is nobody to say it to: the others see it when the grace time is over.
        """
        try:
            if self._closed is None:
                self._let_through()
                if waiting := self._outbox.waiting():
                    await asyncio.wait(waiting, timeout=self._options.close_timeout)
                if len(self._outbox):
                    log.info("leaving %s with %d envelopes unacknowledged", self.name, len(self._outbox))
                self._over(Closed("left", "this client has left the room"))
                if self._connection is not None:
                    await self._connection.close()
        finally:
            await self._stop()

    def _let_through(self) -> None:
        """Nobody listens any more if the queue is full: what fills it must not hold up the last acknowledgements."""
        self._leaving = True
        if self._incoming.full():
            while not self._incoming.empty():
                self._incoming.get_nowait()

    async def _hear(self, event: Event) -> None:
        if not (self._leaving and self._incoming.full()):
            await self._incoming.put(event)

    def drop(self) -> None:
        """Lose the connection without a word, as a change of network would; for tests. It comes back by itself."""
        if self._connection is not None:
            self._connection.drop()

    # Within.

    async def _keep(self) -> None:
        try:
            await self._run()
        except Exception:
            log.exception("%s: this client failed", self.name)
            self._over(Closed("internal", "the client failed; its log says how"))

    async def _run(self) -> None:
        backoff = Backoff(draw=self._options.draw)

        def welcomed() -> None:
            backoff.reset()
            self.connected = True
            self.reconnects += 1
            self._welcome.set()

        while not self._is_over():
            self._connection = RelayConnection(
                self._request, self._options, self._place, self._outbox, deliver=self._hear, welcomed=welcomed
            )
            end = self._end = await self._connection.run(next(self._urls))
            was_connected, self.connected = self.connected, False
            if end.final:
                self._over(Closed(end.code, end.text))
            if self._is_over():
                return
            if was_connected:
                await self._hear(Interrupted(end.code, end.text))
            delay = backoff.soon() if end.elsewhere else backoff.next(at_least=end.at_least)
            log.info("%s: %s (%s); coming back in %.2f s", self.name, end.text, end.code, delay)
            await asyncio.sleep(delay)

    def _is_over(self) -> bool:
        return self._closed is not None

    def _over(self, closed: Closed) -> None:
        if self._closed is None:
            self._closed = closed
            self._outbox.fail(closed)
            self._welcome.set()
            if self._incoming.full():
                return
            self._incoming.put_nowait(None)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
