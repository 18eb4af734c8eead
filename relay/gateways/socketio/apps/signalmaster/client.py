"""SignalMaster for one client of SimpleWebRTC: it enters and leaves rooms, and sends messages to their members."""

import asyncio
import uuid
from collections.abc import Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from relay.gateways.base.join_request import JoinRequest
from relay.gateways.socketio.apps.application import Opened, OutgoingPacket
from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.signalmaster import packets
from relay.gateways.socketio.apps.signalmaster.known_members import KnownMembers
from relay.gateways.socketio.apps.signalmaster.requests import (
    EnterRoom,
    LeaveRoom,
    NewToken,
    SendEnvelope,
    SendMessage,
    ShareScreen,
    read_request,
)
from relay.gateways.socketio.apps.signalmaster.resources import Resources
from relay.gateways.socketio.parser import IncomingEvent
from relay.model import events
from relay.model.errors import Refused, RelayError
from relay.model.member_info import INFO_RATE
from relay.model.names import unescape
from relay.model.publication import Receipt

DIALECT: Final = "signalmaster"
"""The value of the parameter `dialect` in the address of a page."""

NAMESPACE: Final = "/simplewebrtc"


class SignalMasterApplication:
    """The `StatefulApplication` of SimpleWebRTC. With `is_default`, it serves clients in `/` as well."""

    key = DIALECT

    def __init__(self, *, is_default: bool = False) -> None:
        self.namespaces: Collection[str] = (NAMESPACE, "/") if is_default else (NAMESPACE,)

    def recognises(self, query: Mapping[str, str]) -> bool:
        """Return whether the address names this application."""
        return query.get("dialect") == DIALECT

    def client(self, port: ClientPort) -> "SignalMasterClient":
        """Make the state of a client that connects."""
        return SignalMasterClient(port)

    def packets(self, event: events.Event) -> Sequence[OutgoingPacket]:
        """Write an event of the relay."""
        return packets.write(event)


class SignalMasterClient:
    """One client. It is in one room at a time, under an id that the page knows as its own.

    `resources` outlive a room: a page that shares its screen does so in the next room as well.
    """

    __slots__ = ("_ended", "_members", "_peer", "_port", "_resources")

    def __init__(self, port: ClientPort) -> None:
        self._port = port
        self._peer = ""
        self._resources = Resources()
        self._members = KnownMembers()
        self._ended = False

    async def open(self) -> Opened:
        """Take the id of the session as peer id, as far as the client's token allows."""
        port = self._port
        sid = port.handshake.sid
        self._peer = sid if port.permissions.grants is None else port.permissions.grants.peer("", lambda: sid)
        if sid in self._peer:
            port.socket.announce_sid()
        return Opened(self._peer)

    async def opened(self) -> None:
        """Send the client its servers: its first calls use them only if they come before it joins."""
        for event in packets.servers(self._port.worker.ice.offer(self._peer, "welcome")):
            self._port.socket.emit(*event)

    def received(self, event: IncomingEvent) -> Coroutine[Any, Any, None] | None:
        """Serve an event; raises `Refused`."""
        match read_request(event):
            case SendMessage(command):
                self._port.publisher.publish(command, self._sent)
            case SendEnvelope(command):
                self._port.publisher.publish(command, partial(self._sent_envelope, event.id))
            case EnterRoom(room, creates):
                return self._create(room, event.id) if creates else self._join(room, event.id)
            case LeaveRoom():
                return self._leave()
            case ShareScreen(shared):
                return self._share_screen(shared=shared)
            case NewToken(token):
                return self._refresh(token, event.id)
        return None

    def deliver(self, event: events.Event) -> bool:
        """Have an event written, but for the error about presence: a page has not asked for that."""
        told: Sequence[packets.PageEvent] = ()
        match event:
            case events.PresenceChange():
                told = self._members.change(event)
            case events.PresenceList():
                told = self._members.compare(event.roster)
            case events.Failure(about="presence"):
                return False
        for one in told:
            self._port.socket.emit(*one)
        return True

    def ended(self, *, goodbye: bool) -> None:
        """Change the member info no more."""
        self._ended = True

    # Rooms.

    async def _join(self, room: str, number: str) -> None:
        await self._port.membership.leave()
        called = await self._enter(room)
        self._port.socket.acknowledge(number, None, {"clients": {unescape(peer): called[peer] for peer in called}})

    async def _create(self, room: str, number: str) -> None:
        """Enter a room without members."""
        room = room or str(uuid.UUID(bytes=self._port.worker.random.secret(16), version=4))
        await self._port.membership.leave()
        await self._enter(room, opens=True)
        self._port.socket.acknowledge(number, None, unescape(room))

    async def _enter(self, room: str, *, opens: bool | None = None) -> Mapping[str, Resources]:
        """Enter a room; returns the members that the page is to call."""
        request = JoinRequest(
            room,
            self._peer,
            presence=True,
            # The library joins again under another id, so that this one never comes back.
            can_resume=False,
            info=self._resources.as_info(),
            opens=opens,
        )
        self._members = KnownMembers()
        welcome = await self._port.membership.enter(request)
        return self._members.begin(packets.callable_members(welcome))

    async def _leave(self) -> None:
        if self._port.membership.room:
            await self._port.membership.leave()
            # The members that stay are told by the relay.
            self._port.socket.emit(*packets.remove(self._peer))

    async def _share_screen(self, *, shared: bool) -> None:
        """Tell the room by the member info, whose changes have a rate: a page that is faster waits for it."""
        changed = Resources(screen=shared)
        if changed == self._resources:
            return
        self._resources = changed
        while self._port.membership.room and not self._ended:
            try:
                await self._port.presence.change_info(changed.as_info())
            except Refused as error:
                if error.code != "too_fast":
                    raise
                await asyncio.sleep(1 / INFO_RATE)
            else:
                return

    async def _refresh(self, token: str, number: str) -> None:
        expires = await self._port.permissions.refresh(token)
        self._port.socket.acknowledge(number, None, {} if expires is None else {"expires": expires})

    # Messages.

    def _sent(self, outcome: Receipt | RelayError) -> None:
        """Say nothing of a member that is gone: a page sends it a dozen messages before it hears of that."""
        if isinstance(outcome, RelayError) and outcome.code != "no_such_peer":
            self._port.socket.emit(*packets.error_event(outcome.code, outcome.text))

    def _sent_envelope(self, number: str, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, Receipt):
            self._port.socket.acknowledge(number, None, {"id": str(outcome.id)})
        elif number:
            self._port.socket.acknowledge(number, packets.callback_error(outcome.code))
        else:
            self._port.socket.emit(*packets.error_event(outcome.code, outcome.text))
