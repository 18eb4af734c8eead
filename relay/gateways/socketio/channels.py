"""Channels of socketio-over-nodejs: namespaces that a page opens by the event `new-channel`.

A page emits `new-channel` with a channel and a sender, and then connects to the namespace `/CHANNEL`, which is the room
of that name. From then on, its connection may enter any channel. Another connection may enter a channel that is in use,
or that any connection has opened: a page that comes back does not open it again. Clients of version 1 and 2 open each
channel but their first one on a new connection, and enter all of them on the first one.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw, Struct

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.base.session import Session
from relay.gateways.socketio.apps.channel import data_of, user_left, user_of
from relay.gateways.socketio.errors import SocketIORefused
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.channels import Label, label
from relay.model.errors import Refused, RelayError
from relay.model.names import escape_room, percent_decoded, unescape
from relay.rooms.admissions import Ticket
from relay.rooms.worker import Worker

NEW_CHANNEL: Final = "new-channel"

_MOST_REFUSED: Final = 8
"""Namespaces that a client was refused, and that are remembered."""

_OPENED: Final = "\0" + NEW_CHANNEL
"""The recent channel of a room by which workers know that a page has opened it; questions for presence ignore it."""

_WAITS: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between two looks for a page that opens a refused channel: its new connection may be on another worker."""

MakeJoinRequest = Callable[[str], JoinRequest]
"""Makes the request to join a room."""

Enter = Callable[[str, MakeJoinRequest], None]
"""Has a client enter a namespace."""


class _NewChannel(Struct, forbid_unknown_fields=True):
    channel: Label
    sender: Raw


_new_channel = msgspec.json.Decoder(_NewChannel)


def read_new_channel(event: IncomingEvent) -> str | None:
    """Return the room of the channel that an event in `/` opens, "" for a name of no room; None for any other event.

    Such an event has exactly one argument, with exactly the fields `channel` and `sender`.
    """
    if event.name != NEW_CHANNEL:
        return None
    try:
        return escape_room(label(_new_channel.decode(event.data).channel))
    except msgspec.MsgspecError:
        return None
    except Refused:
        return ""


def room_of_channel(namespace: str) -> str:
    """Return the room of a channel's namespace; raises `Refused` (`bad_namespace`) if no room has its name."""
    try:
        return escape_room(percent_decoded(namespace[1:]))
    except Refused:
        raise SocketIORefused("bad_namespace", "Invalid namespace") from None


class ClientChannels:
    """The channels that one client may enter: all, once it has opened one, and else those that are in use or open.

    `enter` is called for a namespace that the client was refused, once it may enter it.
    """

    __slots__ = ("_enter", "_may_enter", "_refused", "_ticket", "_worker")

    def __init__(self, worker: Worker, ticket: Ticket, enter: Enter) -> None:
        self._worker = worker
        self._ticket = ticket
        self._enter = enter
        self._may_enter = False
        self._refused: dict[str, tuple[MakeJoinRequest, asyncio.Task[None]]] = {}

    def open(self, room: str) -> None:
        """Let the client enter channels, and any client that of this room, "" for none; lets in those refused before.

        Clients from version 1 on ask for a namespace as soon as they are connected, and only then emit waiting events.
        """
        self._may_enter = True
        if room:
            self._record(room)
        refused, self._refused = self._refused, {}
        for name, (make_join_request, wait) in refused.items():
            wait.cancel()
            if room_of_channel(name) == room:
                self._enter(name, make_join_request)

    def _record(self, room: str) -> None:
        """Tell other connections that the channel is open; of a client that opens too many, they are not told."""
        try:
            self._worker.note_channel(_OPENED, room, self._ticket.address)
        except Refused as error:
            self._ticket.metrics.refused(error.code)

    async def request(self, name: str, room: str, make_join_request: MakeJoinRequest) -> Callable[[], JoinRequest]:
        """Return a function for the request to join a channel's room; it raises if the client may not enter."""
        error: RelayError | None = None
        try:
            if not self._may_enter and not await self._is_known(room) and not self._may_enter:
                error = SocketIORefused("bad_namespace", "Invalid namespace")
                self._remember(name, room, make_join_request)
        except RelayError as unavailable:
            error = unavailable
        return partial(make_join_request, room) if error is None else partial(_fail, error)

    def end(self) -> None:
        """Forget the refused namespaces, as the client is gone."""
        refused, self._refused = self._refused, {}
        for _, wait in refused.values():
            wait.cancel()

    async def _is_known(self, room: str) -> bool:
        """Return whether a room has members, messages in its channel have come lately, or a page has opened it."""
        if (await self._worker.roster(room, 0)).count > 0:
            return True
        return await self._detect(unescape(room), room) or await self._detect(_OPENED, room)

    async def _detect(self, channel: str, room: str) -> bool:
        return await self._worker.detect(channel, room, rooms=False)

    def _remember(self, name: str, room: str, make_join_request: MakeJoinRequest) -> None:
        _, earlier = self._refused.pop(name, (None, None))
        if earlier is not None:
            earlier.cancel()
        if len(self._refused) < _MOST_REFUSED:
            wait = self._worker.spawn(self._wait_for_others(name, room))
            self._refused[name] = make_join_request, wait

    async def _wait_for_others(self, name: str, room: str) -> None:
        """Have the client enter a refused namespace soon after another connection has opened the channel."""
        for seconds in _WAITS:
            await asyncio.sleep(seconds)
            with suppress(RelayError):
                if await self._detect(_OPENED, room):
                    make_join_request, _ = self._refused.pop(name)
                    self._enter(name, make_join_request)
                    return


def _fail(error: RelayError) -> NoReturn:
    raise error


class ChannelUserSession(Session[IncomingEvent]):
    """The session of a page in a channel, whose user is the `sender` in its first data.

    When the page leaves, or is lost, the others get `user-left` with that name.
    """

    __slots__ = ("_user",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._user: bytes | None = None

    def received(self, incoming: IncomingEvent) -> None:
        """Serve an event, and note the user."""
        if self._user is None and (data := data_of(incoming)) is not None:
            self._user = user_of(data)
        super().received(incoming)

    def end(self, *, goodbye: bool) -> "asyncio.Future[None] | None":
        """Tell the others, and end the session."""
        if self._user and self.newest_id() is not None:
            self.execute(user_left(self._user))
            self._user = b""
        return super().end(goodbye=goodbye)
