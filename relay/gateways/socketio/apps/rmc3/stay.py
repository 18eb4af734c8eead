"""A client's stay in a room: it opens or joins one, in which it is alone or the guest of an owner, and leaves it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw, Struct

from relay.gateways.base.join_request import JoinRequest, ResumeClaim
from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.arguments import AskedRoom, SessionKind, read_session
from relay.gateways.socketio.apps.rmc3.extras import member_info
from relay.gateways.socketio.apps.rmc3.places import PlaceKey
from relay.gateways.socketio.apps.rmc3.signals import Notice, notice
from relay.gateways.socketio.errors import BadEvent
from relay.model.commands import Tracking
from relay.model.errors import RelayError
from relay.model.events import Welcome
from relay.model.names import escape_room, unescape
from relay.model.rules import MAX_PASSWORD, RuleChange, Terms

ROOM_NOT_AVAILABLE: Final = "Room not available"
INVALID_PASSWORD: Final = "Invalid password"  # noqa: S105 - a text
ROOM_FULL: Final = "Room full"

_MARK: Final = 12
"""Characters of the mark of an opening."""

_ERRORS: Final = {
    "room_exists": ROOM_NOT_AVAILABLE,
    "no_such_room": ROOM_NOT_AVAILABLE,
    "password_required": INVALID_PASSWORD,
    "bad_password": INVALID_PASSWORD,
    "room_full": ROOM_FULL,
}

TAKEN: Final = frozenset({"peer_taken", "superseded"})
"""Codes of a user id that another client has in the room."""


class Attributes(Struct, frozen=True, omit_defaults=True):
    """The decisions of the client that opened a room: with `auto_close`, all leave with the owner.

    `opening` is a mark of its own for each time that a room is opened.
    """

    session: Raw = Raw(b"{}")
    identifier: str = ""
    auto_close: bool = False
    most: int = 0
    opening: str = ""


_attributes = msgspec.json.Decoder(Attributes)
_encode: Final = msgspec.json.Encoder().encode


def read_attributes(stored: bytes) -> Attributes:
    """Read the attributes of a room; a room that no such client has opened has those of all with all."""
    try:
        return _attributes.decode(stored or b"{}")
    except msgspec.MsgspecError:
        return Attributes()


def error_text(code: str, text: str) -> str:
    """Return the text of an error for a page: in the words of the original server, where that has any."""
    return _ERRORS.get(code, f"{code}: {text}")


def check_password(password: str) -> None:
    """Raise `BadEvent` for a password that is too long for a room: nobody could offer it."""
    if len(password) > MAX_PASSWORD:
        raise BadEvent("bad_event", f"a password has at most {MAX_PASSWORD} characters", about="event")


class Stay:
    """The room of one client: `name` is its text, "" while the client is in none.

    `owner` is the peer id of the owner, as far as is known. `most` and `auto_close` are the wishes of the client for
    rooms that it opens.
    """

    __slots__ = ("_key", "_port", "attributes", "auto_close", "closed", "closings", "ends", "most", "name", "owner")

    def __init__(self, port: ClientPort, key: PlaceKey, *, most: int, auto_close: bool) -> None:
        self._port = port
        self._key = key
        self.most = most
        self.auto_close = auto_close
        self.name = ""
        self.owner = ""
        self.attributes = Attributes()
        # Set when the room ends for the client, which still has to leave it.
        self.ends = False
        # Set when the room was closed, maybe before the client has entered it.
        self.closed = False
        # Marks of openings that their owners have ended before the client has entered: few, as each one has a proof.
        self.closings: set[str] = set()

    @property
    def session(self) -> SessionKind:
        """The session of the room."""
        return read_session(bytes(self.attributes.session))

    @property
    def owns(self) -> bool:
        """Whether the client owns the room."""
        return bool(self.name) and self.owner == self._port.membership.peer

    async def open(self, asked: AskedRoom, peer: str, extra: bytes) -> Welcome:
        """Open a room; raises as `RoomMembership.enter` does."""
        await self.leave()
        check_password(asked.password)
        room = escape_room(asked.name)
        request = self._request(room, peer, extra, opens=True, terms=self._terms(room, asked))
        return await self._enter(request, asked)

    async def join(self, asked: AskedRoom, peer: str, extra: bytes) -> Welcome:
        """Join a room that exists; raises as `RoomMembership.enter` does."""
        await self.leave()
        password = asked.password[: MAX_PASSWORD + 1]
        request = self._request(escape_room(asked.name), peer, extra, opens=False, password=password)
        return await self._enter(request, asked)

    async def take_part(self, name: str, peer: str, extra: bytes, streams: bytes) -> Welcome:
        """Enter a room, whether it exists or not; raises as `RoomMembership.enter` does."""
        await self.leave()
        asked, room = AskedRoom(name, streams), escape_room(name)
        return await self._enter(self._request(room, peer, extra, terms=self._terms(room, asked)), asked)

    async def resume(self, room: str, peer: str) -> Welcome:
        """Come back into a room; raises as `RoomMembership.enter` does, `not_joined` if the place has ended."""
        claim = ResumeClaim(room, peer, self._key.offered, None)
        request = self._request(room, peer, b"", claim=claim, resume_only=True)
        return await self._enter(request, AskedRoom(unescape(room)))

    async def rename(self, peer: str, extra: bytes, renamed: Callable[[str, str], Awaitable[None]]) -> None:
        """Take another peer id in the room, and own it as before; raises as `RoomMembership.rename` does.

        `renamed` is called with both ids while the client has both, and with the ids the other way round if it goes on
        with the one before.
        """
        owned, owner, room, before = self.owns, self.owner, self._port.membership.room, self._port.membership.peer

        async def hand_over() -> None:
            await renamed(before, peer)
            try:
                if owned:
                    self.owner = peer
                    await self._port.worker.rules.change(room, RuleChange(owner=peer), by=peer)
            except RelayError:
                with suppress(RelayError):
                    await renamed(peer, before)
                raise

        request = self._request(room, peer, extra, opens=False)
        try:
            await self._port.membership.rename(request, notice(Notice(renamed=peer)), hand_over)
        except RelayError:
            if self.owner == peer:
                self.owner = owner
            raise

    def list_if_public(self) -> None:
        """List the room under its identifier, if the client owns it."""
        if self.owns and self.attributes.identifier:
            self._port.presence.list_room(self.attributes.identifier)

    async def leave(self) -> None:
        """Leave the room, if the client is in one."""
        self.name = self.owner = ""
        self.attributes, self.ends, self.closed = Attributes(), False, False
        self.closings.clear()
        await self._port.membership.leave()

    async def leave_from(self, name: str) -> None:
        """Leave this room, unless the client is in another one by now."""
        if self.name == name:
            await self.leave()

    def _request(
        self,
        room: str,
        peer: str,
        extra: bytes,
        *,
        opens: bool | None = None,
        terms: Terms | None = None,
        password: str = "",
        claim: ResumeClaim | None = None,
        resume_only: bool = False,
    ) -> JoinRequest:
        return JoinRequest(
            room,
            peer,
            resume=self._key.offered,
            presence=True,
            tracking=Tracking.WRITTEN,
            info=member_info(extra) if extra else b"",
            claim=claim,
            password=password,
            own_key=True,
            opens=opens,
            terms=terms,
            next_key=self._key.secret,
            held_only=not self._key.proven,
            found_by=self._key.name,
            resume_only=resume_only,
        )

    async def _enter(self, request: JoinRequest, asked: AskedRoom) -> Welcome:
        welcome = await self._port.membership.enter(request)
        known = await self._port.worker.rules.open_room(request.room)
        self.name = asked.name
        self.owner, self.attributes = known.rules.owner, read_attributes(known.attributes)
        return welcome

    def _terms(self, room: str, asked: AskedRoom) -> Terms:
        settings, session = self._port.worker.settings, read_session(asked.session)
        auto_close, opening = self.auto_close or session.is_oneway, self._port.worker.random.peer_id()[:_MARK]
        attributes = Attributes(Raw(asked.session), asked.identifier, auto_close, self.most, opening)
        if room == settings.default_room:
            # Clients of all protocols are there that name no room: nobody may keep them out.
            return Terms(attributes=_encode(attributes))
        most = self.most if self.most < settings.members_per_room else None
        return Terms(password=asked.password, max_members=most, attributes=_encode(attributes))
