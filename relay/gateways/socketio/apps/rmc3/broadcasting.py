"""Scalable broadcasts: an initiator sends to a few viewers, and each of them to a few more.

A broadcast is the room that is named like its initiator, which may take another id later. The tree of the room, on all
workers, has the initiator and the source of each viewer. A viewer sees by itself that the one has gone from which it
receives. The initiator renews the tree, which Redis would forget.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from msgspec import Raw

from relay.gateways.socketio.apps.rmc3.admin import USERID
from relay.gateways.socketio.apps.rmc3.arguments import argument, read_object, read_text
from relay.gateways.socketio.apps.rmc3.page import PageState
from relay.gateways.socketio.apps.rmc3.reservation import Reservation
from relay.gateways.socketio.apps.rmc3.returning import Returning
from relay.gateways.socketio.apps.rmc3.stay import TAKEN
from relay.gateways.socketio.errors import BadEvent
from relay.model.errors import Refused, RelayError
from relay.model.events import PresenceChange
from relay.model.names import escape_peer, escape_room, unescape

MOST_RECEIVERS: Final = 100
"""Viewers to which a page sends at most, even if it asks for more."""

RENEWAL: Final = 200.0
"""Seconds between two calls by which an initiator renews its tree, which lives three times as long."""

_DEFAULT_RECEIVERS: Final = 2
_MAX_STREAMS: Final = 1024
_MOST_LEFT: Final = 256
"""Members that are noted as having left while a page was away; the place of any other ends with the tree."""

_BOTH: Final = b'{"audio":true,"video":true}'
_NULL: Final = Raw(b"null")

Work = Coroutine[Any, Any, None]


class Broadcasting:
    """The part of one page in a broadcast.

    `_room` is the escaped name of the broadcast's room, "" before the page takes part in one. `_initiator` and
    `_source` are the escaped ids of the initiator and of the one from which the page receives, as far as is known.
    """

    __slots__ = (
        "_initiator",
        "_left_meanwhile",
        "_most",
        "_page",
        "_port",
        "_renewal",
        "_reservation",
        "_returning",
        "_room",
        "_source",
    )

    def __init__(self, page: PageState, returning: Returning, reservation: Reservation) -> None:
        self._page = page
        self._reservation = reservation
        self._port = page.port
        self._returning = returning
        self._most = _read_most(page.port.handshake.query.get("maxRelayLimitPerUser", ""))
        self._room = self._initiator = self._source = ""
        # Members that have left before the page was found to take part.
        self._left_meanwhile: set[str] = set()
        self._renewal: asyncio.TimerHandle | None = None

    def handle(self, name: str, values: list[bytes], number: str) -> Work | None:
        """Serve an event, one of `BROADCAST_EVENTS`, as `PageRequests.handle` does."""
        return _HANDLERS[name](self, values, number)

    @property
    def _takes_part(self) -> bool:
        return bool(self._room) and bool(self._page.stay.name) and self._port.membership.room == self._room

    @property
    def _initiates(self) -> bool:
        return self._takes_part and self._port.membership.peer == self._initiator

    async def _join(self, values: list[bytes], number: str) -> None:
        """Take part: as the initiator, or as a viewer, which is told its source."""
        fields = read_object(argument(values, 0))
        name, userid = _text_in(fields, "broadcastId"), _text_in(fields, "userid")
        if userid == USERID:
            raise Refused("bad_peer", f"only the admin page has the user id {USERID}")
        # The name of a broadcast is the peer id of its initiator.
        first = escape_peer(name)
        streams = bytes(fields.get("typeOfStreams", _NULL))
        if len(streams) > _MAX_STREAMS:
            raise BadEvent("bad_event", f"typeOfStreams has at most {_MAX_STREAMS} bytes", about="event")
        streams = streams if streams.startswith(b"{") else _BOTH
        if not await self._enter(name, escape_peer(userid), streams):
            return
        await self._reservation.give_back()
        known = self._initiator if self._takes_part else ""
        self._room, self._initiator = self._port.membership.room, known or first
        await self._find_place()
        if self._initiates:
            await self._tell_viewers()
        if self._source:
            hints = {"typeOfStreams": self._page.stay.attributes.session, "userid": unescape(self._source)}
            self._port.socket.emit("join-broadcaster", {**hints, "broadcastId": name})
            text = f"You <{userid}> are getting data/stream from <{unescape(self._source)}>"
            self._port.socket.emit("logs", text)
        else:
            self._port.socket.emit("start-broadcasting", Raw(streams))
            self._port.socket.emit("logs", f"You <{userid}> are now serving the broadcast.")

    async def _find_place(self) -> None:
        """Enter the tree, also one that Redis has lost."""
        trees = self._port.worker.broadcasts
        place = await trees.enter(self._room, self._port.membership.peer, self._initiator, self._most)
        self._source, self._initiator = place.source, place.initiator or self._initiator
        if self._initiates:
            self._renew_later()

    async def _enter(self, name: str, peer: str, streams: bytes) -> bool:
        """Enter the room of the broadcast, unless the page is there; returns whether it is in."""
        page = self._page
        await self._returning.finish()
        if page.stay.name == name and page.userid == peer:
            return True
        page.forget_room()
        page.userid = peer
        try:
            welcome = await page.stay.take_part(name, peer, page.extra, streams)
        except RelayError as error:
            if error.code not in TAKEN:
                raise
            page.tell_taken()
            return False
        page.tell_missed(welcome)
        page.shown_extra = page.extra
        page.end_if_closed()
        return not page.stay.ends

    # The tree, for as long as the page is in it.

    def _renew_later(self) -> None:
        self.stop()
        self._renewal = asyncio.get_running_loop().call_later(RENEWAL, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        if self._initiates:
            self._renew_later()
            self._port.socket.spawn(self._find_place())

    def stop(self) -> None:
        """Renew the tree no more."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    async def rename(self, peer: str, new: str) -> None:
        """Note that the page has another peer id, before it leaves its room under the one before."""
        if self._takes_part:
            await self._port.worker.broadcasts.rename(self._room, peer, new)
            self.renamed(peer, new)

    def renamed(self, peer: str, new: str) -> None:
        """Note that a member of the broadcast has another peer id."""
        self._initiator = new if self._initiator == peer else self._initiator
        self._source = new if self._source == peer else self._source

    async def returned(self) -> None:
        """Go on in the broadcast after the page has come back: find its place, and tell it of the missed changes."""
        page, room = self._page, self._port.membership.room
        place = await self._port.worker.broadcasts.find(room, self._port.membership.peer)
        if place is None or not page.stay.name or self._port.membership.room != room:
            return
        left, self._left_meanwhile = self._left_meanwhile, set()
        try:
            first = escape_peer(page.stay.name)
        except Refused:
            return
        self._room, self._initiator, self._source = room, place.initiator or first, place.source
        if self._initiates:
            self._renew_later()
            for peer in left:
                await self._port.worker.broadcasts.leave(room, peer)
            await self._tell_viewers()
        elif not place.source and place.initiator:
            self._port.socket.emit("rejoin-broadcast", page.stay.name)
        elif not place.initiator and (left or place.source):
            self._stopped()

    def _stopped(self) -> None:
        """Tell the page that its initiator has gone."""
        self._initiator = self._source = ""
        self._port.socket.emit("broadcast-stopped", self._page.stay.name)

    async def _can_relay(self, values: list[bytes], number: str) -> None:
        await self._set_relay(can_relay=True)

    async def _can_not_relay(self, values: list[bytes], number: str) -> None:
        await self._set_relay(can_relay=False)

    async def _set_relay(self, *, can_relay: bool) -> None:
        if self._page.stay.name:
            await self._port.worker.broadcasts.set_relay(
                self._port.membership.room, self._port.membership.peer, can_relay=can_relay
            )

    async def _presence(self, values: list[bytes], number: str) -> None:
        """Answer whether a broadcast has its initiator; a page that hears that there is none may become it."""
        found = self._visible(read_text(argument(values, 0)))
        if found is None:
            self._port.socket.acknowledge(number, False)
            return
        exists = partial(self._has_initiator, *found)
        self._port.socket.acknowledge(number, await exists() or await self._reservation.is_opened(found[0], exists))

    async def _has_initiator(self, room: str, initiator: str) -> bool:
        found = await self._port.worker.broadcasts.find(room, initiator)
        return found is not None and (bool(found.initiator) or not found.source)

    async def _count(self, values: list[bytes], number: str) -> None:
        """Answer how many viewers a broadcast has."""
        found = self._visible(read_text(argument(values, 0)))
        self._port.socket.acknowledge(number, 0 if found is None else await self._viewers(*found))

    def _visible(self, name: str) -> tuple[str, str] | None:
        """Return the room and the initiator of a broadcast, None if the page may not know of it."""
        try:
            room, initiator = escape_room(name), escape_peer(name)
        except Refused:
            return None
        return (room, initiator) if self._port.permissions.sees(room) else None

    async def _viewers(self, room: str, initiator: str) -> int:
        if await self._port.worker.broadcasts.find(room, initiator) is None:
            return 0
        return (await self._port.worker.roster(room, 0)).count - 1

    # The room.

    def presence_changed(self, event: PresenceChange) -> None:
        """Tell the page of changes in its broadcast, if it is in one."""
        page = self._page
        if not page.scalable:
            return
        if not self._takes_part:
            self._left_meanwhile.update(event.left[: _MOST_LEFT - len(self._left_meanwhile)])
            return
        if self._initiates:
            self._port.socket.spawn(self._viewers_changed(event))
        elif self._initiator in event.left:
            if self._source == self._initiator:
                # Those that received from the initiator itself are few.
                self._port.socket.spawn(self._port.worker.broadcasts.leave(event.room, self._initiator))
            self._stopped()
        elif self._source in event.left:
            self._source = ""
            self._port.socket.emit("rejoin-broadcast", page.stay.name)

    async def _viewers_changed(self, event: PresenceChange) -> None:
        """Take viewers that have left out of the tree, and tell the initiator how many there are."""
        for peer in event.left:
            await self._port.worker.broadcasts.leave(event.room, peer)
        await self._tell_viewers()

    async def _tell_viewers(self) -> None:
        if self._initiates:
            count = await self._viewers(self._room, self._initiator)
            told = {"numberOfBroadcastViewers": count, "broadcastId": self._page.stay.name}
            self._port.socket.emit("number-of-broadcast-viewers-updated", told)


_HANDLERS: Final[Mapping[str, Callable[[Broadcasting, list[bytes], str], Work | None]]] = {
    "join-broadcast": Broadcasting._join,
    "can-relay-broadcast": Broadcasting._can_relay,
    "can-not-relay-broadcast": Broadcasting._can_not_relay,
    "check-broadcast-presence": Broadcasting._presence,
    "get-number-of-users-in-specific-broadcast": Broadcasting._count,
}

BROADCAST_EVENTS: Final = frozenset(_HANDLERS)
"""The names of the events."""


def broadcast_of(extra: bytes) -> str:
    """Return the broadcast that the extra data of a page names; "" for none."""
    try:
        return read_text(bytes(read_object(extra).get("broadcastId", _NULL)))
    except BadEvent:
        return ""


def _text_in(fields: Mapping[str, Raw], name: str) -> str:
    return read_text(bytes(fields.get(name, _NULL)))


def _read_most(text: str) -> int:
    most = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    return min(most or _DEFAULT_RECEIVERS, MOST_RECEIVERS)
