"""The admin page of RTCMultiConnection: a client whose user id is `admin`, which never enters a room.

It is refused unless the setting `rmc-admin` names it. It sees rooms that pages of RTCMultiConnection have opened, of
the first page of the relay's list.
"""

import hmac
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from msgspec import Raw

from relay.gateways.socketio.apps.application import Opened
from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.arguments import argument, is_true, read_arguments, read_object, read_text
from relay.gateways.socketio.apps.rmc3.lookups import NO_USER
from relay.gateways.socketio.apps.rmc3.stay import read_attributes
from relay.gateways.socketio.parser import IncomingEvent
from relay.model.errors import Refused
from relay.model.events import Event, Failure
from relay.model.names import escape_peer, escape_room, unescape

USERID: Final = "admin"
"""The user id of the admin page; no other page can have it."""

_MISSING: Final = 'Please pass "adminUserName" and "adminPassword" via socket.io parameters.'
_WRONG: Final = "Invalid admin username or password."

_GUESS: Final = "rmc-admin"
"""The kind of its wrong secrets."""

_LIST_COST: Final = 25
_NULL: Final = Raw(b"null")


class AdminClient:
    """The `ApplicationClient` of an admin page.

    `secret` is NAME:PASSWORD, "" for none. An address that has offered too many wrong ones is refused with a right one,
    too.
    """

    __slots__ = ("_may", "_port", "_secret")

    def __init__(self, port: ClientPort, secret: str) -> None:
        self._port = port
        self._secret = secret
        self._may = False

    async def open(self) -> Opened:
        """Accept the page, so that it can be told why it may do nothing."""
        return Opened(self._port.worker.random.peer_id())

    async def opened(self) -> None:
        """Let the page in, or tell it why not, and end its session."""
        query = self._port.handshake.query
        given = query.get("adminUserName", ""), query.get("adminPassword", "")
        if not self._secret or not all(given):
            self._refuse(_MISSING)
        elif not self._proves(":".join(given)):
            self._refuse(_WRONG)
        else:
            self._may = True
            self._port.socket.emit("admin", {"connected": True})

    def _refuse(self, text: str) -> None:
        self._port.socket.emit("admin", {"error": text})
        self._port.socket.disconnect()

    def _proves(self, given: str) -> bool:
        guesses, address = self._port.worker.guesses, self._port.handshake.address
        if guesses.are_too_many(_GUESS, address):
            return False
        proved = hmac.compare_digest(given.encode(), self._secret.encode())
        if not proved:
            guesses.note(_GUESS, address)
        return proved

    def received(self, event: IncomingEvent) -> Coroutine[Any, Any, None] | None:
        """Serve an event `admin`."""
        if not self._may or event.name != "admin":
            return None
        return self._serve(read_object(argument(read_arguments(event), 0)), event.id)

    async def _serve(self, asked: Mapping[str, Raw], number: str) -> None:
        if is_true(asked.get("all")):
            await self._list()
        if is_true(asked.get("userinfo")):
            found = await self._find(read_text(bytes(asked.get("userid", _NULL))))
            self._port.socket.acknowledge(number, {"sessionid": unescape(found[0])} if found else {"error": NO_USER})
        if is_true(asked.get("clearLogs")):
            # The relay keeps no logs for pages.
            self._port.socket.acknowledge(number, True)
        if is_true(asked.get("deleteUser")):
            found = await self._find(read_text(bytes(asked.get("userid", _NULL))))
            if found is not None:
                await self._port.worker.rules.kick(*found)
            self._port.socket.acknowledge(number, found is not None)
        if is_true(asked.get("deleteRoom")):
            self._port.socket.acknowledge(number, await self._close(read_text(bytes(asked.get("roomid", _NULL)))))

    async def _list(self) -> None:
        """Send all rooms that pages have opened, and how many users are in them."""
        worker = self._port.worker
        self._port.rate.charge(_LIST_COST)
        rooms: dict[str, object] = {}
        users = 0
        for room, _ in (await worker.list_rooms()).rooms:
            known, roster = await worker.rules.open_room(room), await worker.roster(room)
            if known.attributes:
                attributes = read_attributes(known.attributes)
                users += roster.count
                rooms[unescape(room)] = {
                    "owner": unescape(known.rules.owner),
                    "participants": [unescape(one.peer) for one in roster.members],
                    "session": attributes.session,
                    "identifier": attributes.identifier,
                    "maxParticipantsAllowed": known.rules.max_members or attributes.most,
                }
        told = {"newUpdates": False, "listOfRooms": rooms, "listOfUsers": users, "scalableBroadcastUsers": 0}
        self._port.socket.emit("admin", told)

    async def _find(self, userid: str) -> tuple[str, str] | None:
        """Return the room of a user and its peer id there."""
        worker = self._port.worker
        try:
            peer = escape_peer(userid)
        except Refused:
            return None
        self._port.rate.charge(_LIST_COST)
        for room, _ in (await worker.list_rooms()).rooms:
            if any(one.peer == peer for one in (await worker.roster(room)).members):
                return room, peer
        return None

    async def _close(self, name: str) -> bool:
        try:
            room = escape_room(name)
        except Refused:
            return False
        known = await self._port.worker.rules.open_room(room)
        if not known.attributes:
            return False
        await self._port.worker.rules.close(room)
        return True

    def deliver(self, event: Event) -> bool:
        """Tell the page of errors."""
        if isinstance(event, Failure):
            self._port.socket.emit("logs", f"{event.code}: {event.text}")
        return False

    def ended(self, *, goodbye: bool) -> None:
        """Do nothing: the page has nothing."""
