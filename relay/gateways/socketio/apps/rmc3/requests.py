"""The events of a page, but for its signals: about rooms, passwords, users and itself."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from relay.gateways.socketio.apps.rmc3 import lookups
from relay.gateways.socketio.apps.rmc3.admin import USERID
from relay.gateways.socketio.apps.rmc3.arguments import (
    AskedRoom,
    argument,
    read_extra,
    read_password,
    read_room,
    read_text,
    read_token,
)
from relay.gateways.socketio.apps.rmc3.broadcasting import BROADCAST_EVENTS, Broadcasting, broadcast_of
from relay.gateways.socketio.apps.rmc3.extras import member_info
from relay.gateways.socketio.apps.rmc3.page import PageState
from relay.gateways.socketio.apps.rmc3.reservation import Reservation
from relay.gateways.socketio.apps.rmc3.returning import Returning
from relay.gateways.socketio.apps.rmc3.signals import Notice, extra_changed, notice
from relay.gateways.socketio.apps.rmc3.stay import TAKEN, check_password, error_text
from relay.model.errors import Refused, RelayError
from relay.model.events import Welcome
from relay.model.names import escape_peer, unescape
from relay.model.rules import RuleChange

PERMISSION_DENIED: Final = "Room permission denied"
NO_IDENTIFIER: Final = "publicRoomIdentifier is required"
NO_ROOM_YET: Final = "Did not join any room yet"

LIST_COST: Final = 25
"""Messages for which a list of rooms counts."""

Work = Coroutine[Any, Any, None]

Enter = Callable[[AskedRoom, str, bytes], Coroutine[Any, Any, Welcome]]
"""Enters a room, under a peer id and with extra data."""


class PageRequests:
    """Serves the events of one page."""

    __slots__ = ("_broadcasting", "_page", "_port", "_reservation", "_returning", "_stay")

    def __init__(
        self, page: PageState, returning: Returning, broadcasting: Broadcasting, reservation: Reservation
    ) -> None:
        self._page = page
        self._broadcasting = broadcasting
        self._port = page.port
        self._stay = page.stay
        self._returning = returning
        self._reservation = reservation

    def handle(self, name: str, values: list[bytes], number: str) -> Work | None:
        """Serve the event of this name, one of `NAMES`, with these arguments; `number` is that of its callback."""
        return _HANDLERS[name](self, values, number)

    # Rooms.

    def _check_presence(self, values: list[bytes], number: str) -> Work | None:
        name = read_text(argument(values, 0))

        async def work() -> None:
            exists, extra = await lookups.check_presence(self._port, name)
            if not exists and await self._is_opened_by_another(name):
                exists, extra = await lookups.check_presence(self._port, name)
            self._port.socket.acknowledge(number, exists, name, extra)

        return work() if number else None

    async def _is_opened_by_another(self, name: str) -> bool:
        """Wait for another page that has asked for the room just before; returns whether it has opened it."""
        room = lookups.visible_room(self._port, name)
        if room is None:
            return False
        return await self._reservation.is_opened(room, partial(lookups.has_members, self._port, room))

    def _open_room(self, values: list[bytes], number: str) -> Work:
        return self._enter(self._stay.open, values, number)

    def _join_room(self, values: list[bytes], number: str) -> Work:
        return self._enter(self._stay.join, values, number)

    async def _enter(self, enter: Enter, values: list[bytes], number: str) -> None:
        """Open or join a room; with it, the right to open another one before other pages ends."""
        await self._returning.finish()
        await self._enter_asked(enter, values, number)
        await self._reservation.give_back()

    async def _enter_asked(self, enter: Enter, values: list[bytes], number: str) -> None:
        """Enter a room. The page is answered, but for one that gets another user id, and joins anew."""
        page = self._page
        try:
            asked = read_room(argument(values, 0))
            page.extra = asked.extra
            if page.scalable and self._takes_part(asked):
                self._port.socket.acknowledge(number, True)
                return
            page.forget_room()
            welcome = await enter(asked, page.userid, asked.extra)
        except RelayError as error:
            if error.code in TAKEN:
                page.tell_taken()
            else:
                self._port.socket.acknowledge(number, False, error_text(error.code, error.text))
            return
        page.tell_missed(welcome)
        page.shown_extra = page.extra
        page.list_room()
        self._port.socket.acknowledge(number, True)
        page.end_if_closed()

    def _takes_part(self, asked: AskedRoom) -> bool:
        """Whether a page opens or joins a broadcast in which it is already: the room is that of the broadcast."""
        return bool(self._stay.name) and self._stay.name in (asked.name, broadcast_of(asked.extra))

    def _public_rooms(self, values: list[bytes], number: str) -> Work | None:
        identifier = read_text(argument(values, 0))
        if not number or not identifier.replace(" ", ""):
            self._port.socket.acknowledge(number, None, NO_IDENTIFIER)
            return None
        self._port.rate.charge(LIST_COST)

        async def work() -> None:
            rooms = await lookups.public_rooms(self._port, identifier) if self._page.lists_rooms else []
            self._port.socket.acknowledge(number, rooms)

        return work()

    async def _close_session(self, values: list[bytes], number: str) -> None:
        """End the room for all, if the client owns it."""
        if not self._stay.name:
            self._port.socket.acknowledge(number, False, error_text("no_such_room", ""))
        elif not self._stay.owns:
            self._port.socket.acknowledge(number, False, PERMISSION_DENIED)
        else:
            try:
                await self._port.publisher.published(notice(Notice(closed=self._page.closing_proof())))
            except RelayError as error:
                self._port.socket.acknowledge(number, False, error_text(error.code, error.text))
                return
            await self._stay.leave()
            # The page waits until all have gone.
            for peer in self._page.contacts.end_all():
                self._port.socket.emit("user-disconnected", unescape(peer))
            self._page.forget_room()
            self._port.socket.acknowledge(number, True)

    # Passwords.

    async def _set_password(self, values: list[bytes], number: str) -> None:
        """Change the password of a room that the client has opened, and whose owner it is."""
        password, name = read_password(argument(values, 0)), self._stay.name
        if not name:
            self._port.socket.acknowledge(number, None, None, NO_ROOM_YET)
            return
        try:
            await self._change_password(password)
        except RelayError as error:
            text = PERMISSION_DENIED if error.code == "not_owner" else error_text(error.code, error.text)
            self._port.socket.acknowledge(number, False, name, text)
        else:
            self._port.socket.acknowledge(number, True, name, None)

    async def _change_password(self, password: str) -> None:
        rules, room = self._port.worker.rules, self._port.membership.room
        known = await rules.open_room(room)
        if not (self._stay.owns and known.given) or room == self._port.worker.settings.default_room:
            raise Refused("not_owner")
        check_password(password)
        self._port.rate.charge(LIST_COST)
        await rules.change(room, RuleChange(password=password), by=self._port.membership.peer)

    def _check_password(self, values: list[bytes], number: str) -> Work | None:
        password, name = read_text(argument(values, 0)), read_text(argument(values, 1))

        async def work() -> None:
            try:
                right, text = await lookups.check_password(self._port, password, name)
            except Refused as error:
                right, text = False, error_text(error.code, error.text)
            self._port.socket.acknowledge(number, right, name, text)

        return work() if number else None

    # Users.

    def _extra_updated(self, values: list[bytes], number: str) -> Work | None:
        page, extra = self._page, read_extra(argument(values, 0))
        page.extra = extra
        return self._show_extra() if self._stay.name and extra != page.shown_extra else None

    async def _show_extra(self) -> None:
        """Tell the room of the extra data, and record it for pages that look it up."""
        page = self._page
        page.shown_extra = page.extra
        self._port.publisher.publish(extra_changed(page.extra), page.tell_failure)
        try:
            await self._port.presence.change_info(member_info(page.extra))
        except Refused as error:
            # The members have it. Pages that look it up get the data before, until it changes again.
            if error.code != "too_fast":
                raise

    def _remote_extra(self, values: list[bytes], number: str) -> Work | None:
        userid = read_text(argument(values, 0))

        async def work() -> None:
            self._port.socket.acknowledge(number, await lookups.remote_extra(self._port, userid))

        return work() if number else None

    async def _change_id(self, values: list[bytes], number: str) -> None:
        """Take another user id, if no other page has it in the room."""
        userid = read_text(argument(values, 0))
        peer = ""
        try:
            peer = escape_peer(userid)
            if userid == USERID:
                raise Refused("bad_peer", f"only the admin page has the user id {USERID}")
            if self._stay.name and peer != self._page.userid:
                await self._stay.rename(peer, self._page.extra, self._broadcasting.rename)
        except RelayError as error:
            self._port.socket.acknowledge(number, False, error_text(error.code, error.text))
            if error.code not in TAKEN:
                raise
            self._page.tell_taken(peer)
            return
        self._page.userid = peer
        self._port.socket.acknowledge(number)

    async def _refresh(self, values: list[bytes], number: str) -> None:
        """Replace the page's token; an event of the relay's own, which the original server does not have."""
        try:
            expires = await self._port.permissions.refresh(read_token(argument(values, 0)))
        except Refused as error:
            self._port.socket.acknowledge(number, {"error": {"code": error.code, "text": error.text}})
            raise
        self._port.socket.acknowledge(number, {} if expires is None else {"expires": expires})

    def _disconnect_with(self, values: list[bytes], number: str) -> None:
        peer = escape_peer(read_text(argument(values, 0)))
        if self._page.contacts.end(peer):
            self._port.socket.emit("user-disconnected", unescape(peer))
            self._port.publisher.publish(notice(Notice(parted=True), peer))
        self._port.socket.acknowledge(number)

    def _listen(self, values: list[bytes], number: str) -> None:
        self._page.customs.add(read_text(argument(values, 0)), {*NAMES, *BROADCAST_EVENTS, self._page.message_event})


_HANDLERS: Final[Mapping[str, Callable[[PageRequests, list[bytes], str], Work | None]]] = {
    "check-presence": PageRequests._check_presence,
    "open-room": PageRequests._open_room,
    "join-room": PageRequests._join_room,
    "extra-data-updated": PageRequests._extra_updated,
    "get-remote-user-extra-data": PageRequests._remote_extra,
    "set-password": PageRequests._set_password,
    "is-valid-password": PageRequests._check_password,
    "get-public-rooms": PageRequests._public_rooms,
    "changed-uuid": PageRequests._change_id,
    "disconnect-with": PageRequests._disconnect_with,
    "close-entire-session": PageRequests._close_session,
    "set-custom-socket-event-listener": PageRequests._listen,
    "relay:refresh": PageRequests._refresh,
}
# A table of functions, and not of methods of an object, which would refer to itself.

NAMES: Final = frozenset(_HANDLERS)
"""The names of the events."""
