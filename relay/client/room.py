"""A room as its user sees it: send envelopes, receive events, list the members."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self

from relay.client.errors import Closed, NotAcknowledged
from relay.client.event_queue import EventQueue
from relay.client.events import Event
from relay.client.frames import FrameFields
from relay.client.loop import ConnectionLoop
from relay.client.options import Options, RoomRequest, base_urls
from relay.client.outbox import Outbox, OutboxItem
from relay.client.own_info import OwnInfo
from relay.client.position import RoomPosition
from relay.client.room_control import RoomControl
from relay.client.token import Token
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
    info: Mapping[str, Any] | None = None,
    token: Token = "",
    password: str = "",
    resume: str = "",
    store_key: Callable[[str], object] | None = None,
    options: Options = _DEFAULTS,
) -> "Room":
    """Return a room, which is joined by `async with`.

    `url` is the relay's URL (`ws://` or `wss://`), or several: each new connection tries the next. `room` and `peer`
    are any text; `peer` is the wanted peer id, and without it the relay chooses one. With `presence`, the client
    receives `Joined` and `Left`, and keeps `Room.members`. With `echo`, it receives its own envelopes. `channels`
    restrict the envelopes that it receives to these channels. `info` is its member info: a JSON object of at
    most 1 KB that the other members see.

    `token` says who the client is, if the relay asks for one: a text, or a function that returns a text or an
    awaitable of a text. The function is called ahead of each connection, and when the token is about to expire; if it
    fails, it is called again later. With a text, the room is over (`token_expired`) when the token expires. `password`
    is the room's.

    `store_key` is called with the membership's resume key, before the first attempt and for each new key. With the last
    key as `resume`, a program that was restarted gets the membership back, and the others see neither a leave nor a
    join; the key of a membership that has ended does no harm.

    Raises ValueError for a URL of another kind, an info that is too large, a token that no header can carry, or a
    `resume` that is no key.
    """
    request = RoomRequest(
        room, peer, presence, echo, tuple(channels), token=token, password=password, resume=resume, store_key=store_key
    )
    return Room(base_urls(url, room), request, options, OwnInfo(info))


def observe(
    url: str | Sequence[str],
    room: str,
    *,
    presence: bool = True,
    messages: bool = True,
    token: Token = "",
    channels: Sequence[str] = (),
    options: Options = _DEFAULTS,
) -> "Room":
    """Return a room that is observed by `async with`: this client is no member, is not listed and cannot send.

    `presence` and `messages` select the events that it receives; messages need the relay's admin `token`, or one that
    grants `observe`. Without either, it receives `Counted` instead of `Joined`, `Left` and `Changed`. After a lost
    connection it observes anew, and receives `Lost`. The other arguments are those of `join`. Raises ValueError if it
    selects nothing, or for a URL of another kind.
    """
    if not (presence or messages):
        raise ValueError("presence, messages or both can be observed")
    observed = "all" if presence and messages else "presence" if presence else "messages"
    request = RoomRequest(room, channels=tuple(channels), observe=observed, token=token)
    return Room(base_urls(url, room), request, options, OwnInfo())


class Room(RoomControl):
    """One client's membership or observation of a room, made by `join` or `observe`.

    `async with` joins: it waits for the relay's welcome, and raises `Closed` if the relay refuses or cannot be reached
    within `Options.connect_timeout`. At its end the client leaves, which the other members see at once.
    """

    def __init__(self, urls: Sequence[str], request: RoomRequest, options: Options, info: OwnInfo) -> None:
        self._request = request
        self._options = options
        self._position = RoomPosition(request.resume)
        self._outbox = Outbox(size=options.outgoing, window=options.window)
        self._info = info
        self._events = EventQueue(options.incoming)
        self._loop = ConnectionLoop(
            urls, request, options, self._position, self._outbox, info, deliver=self._events.put
        )
        self._task: asyncio.Task[None] | None = None
        self._closed: Closed | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"room {self._request.room}")
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                await self._loop.joined.wait()
        except TimeoutError:
            await self._stop()
            end = self._loop.last_end
            raise Closed(end.code or "timeout", end.text or "the relay sent no welcome in time") from None
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

    # State.

    @property
    def name(self) -> str:
        """The room's name as text, as it was given to `join`."""
        return self._request.room

    @property
    def peer(self) -> str:
        """This client's peer id in the room, which other members see as an envelope's sender.

        Peer ids are escaped names here, in `members`, in events and in `to`; `relay.client.unescape` decodes them.
        """
        return self._position.peer

    @property
    def members(self) -> frozenset[str]:
        """The peer ids of the room's members, held ones and this client included; empty without `presence`.

        The relay lists at most 100 by name (its setting `presence-list-limit`): of a larger room, these are the members
        listed on joining and those that joined since.
        """
        return frozenset(self._position.members)

    @property
    def count(self) -> int:
        """How many members the room has, of which `members` may lack some; 0 without `presence`.

        An observer that may see no names has this number alone.
        """
        return self._position.count

    @property
    def infos(self) -> Mapping[str, Mapping[str, Any]]:
        """The infos of the members that have one, by peer id; empty without `presence`."""
        return MappingProxyType(self._position.infos)

    @property
    def first(self) -> bool:
        """Whether the room was empty when this client joined; of several that join at once, exactly one is first."""
        return self._position.first

    @property
    def id(self) -> MessageId:
        """The newest id that this client has received."""
        return self._position.id

    @property
    def ice_servers(self) -> Sequence[Mapping[str, Any]]:
        """The relay's STUN and TURN servers, each as W3C WebRTC's RTCIceServer; empty for an observer.

        The relay renews the credentials of TURN servers before they end, so read this anew for each peer connection.
        """
        return self._position.ice_servers

    @property
    def connected(self) -> bool:
        """Whether the client is connected and in the room now."""
        return self._loop.connected

    @property
    def reconnects(self) -> int:
        """How many times this client has returned to the room after its connection was lost."""
        return self._loop.reconnects

    @property
    def resent(self) -> int:
        """How many envelopes were sent more than once, over all connections; the relay delivered each once."""
        return self._outbox.resent

    @property
    def duplicates(self) -> int:
        """How many envelopes arrived twice and were dropped; 0 as long as the relay keeps its guarantees."""
        return self._position.duplicates

    # Sending.

    async def send(
        self,
        envelope: Mapping[str, Any],
        *,
        to: str | Sequence[str] | None = None,
        timeout: float | None = 30,  # noqa: ASYNC109  # users expect it of a function that waits for the network
    ) -> MessageId:
        """Send a JSON object to the room, or only to the peers in `to`; return its id once the relay acknowledged it.

        Envelopes get their ids in the order of the calls, each once, however often the connection is lost meanwhile
        (`relay.client.outbox` says how).

        Raises `Rejected` (the relay refuses it), `NotAcknowledged` (not within `timeout` seconds), `QueueFull` or
        `Closed`. After a timeout or a cancellation, the envelope is not sent again.
        """
        item = None
        try:
            async with asyncio.timeout(timeout):
                if self._options.wait_for_space:
                    await self._outbox.wait_for_space()
                item = self._add(envelope, to)
                return await item.done
        except TimeoutError:
            raise self._give_up(item) from None
        except asyncio.CancelledError:
            self._give_up(item)
            raise

    def post(self, envelope: Mapping[str, Any], *, to: str | Sequence[str] | None = None) -> asyncio.Future[MessageId]:
        """Send like `send`, but return at once, and without a timeout: the future gets the id or the error."""
        return self._add(envelope, to).done

    async def set_info(
        self,
        info: Mapping[str, Any] | None,
        *,
        timeout: float | None = 30,  # noqa: ASYNC109  # as for `send`
    ) -> None:
        """Replace the info that this client shows to the other members; None removes it.

        Returns when the relay has it, or a newer one: of changes that come faster than the relay takes them (about one
        a second), only the newest is sent. The client gives the info again whenever it reconnects.

        Raises `Rejected` (it is no JSON object of at most 1 KB), `Closed`, or `NotAcknowledged` (not within `timeout`
        seconds); after a timeout, the client still goes on trying.
        """
        if self._closed is not None:
            raise self._closed
        done = self._info.change(info)
        self._loop.wake()
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            raise NotAcknowledged(possibly_sent=True) from None

    async def _command(self, command: Mapping[str, Any]) -> FrameFields:
        if self._closed is not None:
            raise self._closed
        return await self._loop.request(command)

    def _add(self, envelope: Mapping[str, Any], to: str | Sequence[str] | None) -> OutboxItem:
        if self._closed is not None:
            raise self._closed
        item = self._outbox.add(envelope if to is None else {**envelope, "to": to})
        self._loop.wake()
        return item

    def _give_up(self, item: OutboxItem | None) -> NotAcknowledged:
        error = self._outbox.give_up(item) if item else NotAcknowledged(possibly_sent=False)
        # The window has moved: another envelope may be sent now.
        self._loop.wake()
        return error

    # Receiving.

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate over events until this client leaves; raises `Closed` when the relay closes for good."""
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is not None:
            return event
        if self._closed is None or self._closed.code == "left":
            raise StopAsyncIteration
        raise self._closed

    # Leaving.

    async def leave(self) -> None:
        """Send the envelopes that wait, within `Options.close_timeout`, and leave the room.

        Without a connection the client cannot notify the relay: members see it leave after the reconnect grace time.
        """
        try:
            if self._closed is None:
                self._events.drain()
                if pending := self._outbox.pending():
                    await asyncio.wait(pending, timeout=self._options.close_timeout)
                if len(self._outbox):
                    log.info("%s: leaving with %d envelopes unacknowledged", self.name, len(self._outbox))
                self._close(Closed("left", "this client has left the room"))
                await self._loop.close()
        finally:
            await self._stop()

    def drop(self) -> None:
        """Lose the connection without a close frame, as a change of network would; for tests. The client reconnects."""
        self._loop.drop()

    def _close(self, closed: Closed) -> None:
        if self._closed is None:
            self._closed = closed
            self._outbox.fail(closed)
            self._info.fail(closed)
            self._loop.joined.set()
            self._events.close()

    async def _run(self) -> None:
        try:
            closed = await self._loop.run()
        except Exception:
            log.exception("%s: the client failed, which is a bug; it has left the room", self.name)
            closed = Closed("internal", "the client failed; its log has the traceback")
        if closed is not None:
            self._close(closed)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
