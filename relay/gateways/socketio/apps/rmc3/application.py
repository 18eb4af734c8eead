"""The application of RTCMultiConnection 3: recognises its pages, and makes the state of each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from relay.config import Settings
from relay.gateways.socketio.apps.application import ApplicationClient, OutgoingPacket
from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.admin import USERID, AdminClient
from relay.gateways.socketio.apps.rmc3.client import Rmc3Client
from relay.gateways.socketio.apps.rmc3.events import HIDDEN
from relay.gateways.socketio.apps.wrapped_events import is_wrapped, read_wrapped
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.settings import SocketIOSettings
from relay.logs import LogIntervals
from relay.model.events import Event, Message

_MARK: Final = "msgEvent"
"""The parameter of the query that every such page sends, and no other one."""

_LOG_INTERVAL: Final = 60.0
"""Seconds between two log lines about events that are refused before their page is back."""


class Rmc3Application:
    """The `StatefulApplication` of RTCMultiConnection 3."""

    key: Final = "rmc3"
    namespaces: Final[Collection[str]] = ()

    def __init__(self, settings: Settings) -> None:
        own = settings.of(SocketIOSettings)
        self._allowed = frozenset(own.socketio_events)
        self._lists_rooms = own.rmc_public_rooms == "on"
        self._admin = own.rmc_admin
        self._lines = LogIntervals(_LOG_INTERVAL)

    def recognises(self, query: Mapping[str, str]) -> bool:
        """Return whether a client is such a page."""
        return _MARK in query

    def client(self, port: ClientPort) -> ApplicationClient:
        """Make the state of a page."""
        if port.handshake.query.get("userid") == USERID:
            return AdminClient(port, self._admin)
        return Rmc3Client(port, self._allowed, self._lines, lists_rooms=self._lists_rooms)

    def packets(self, event: Event) -> Sequence[OutgoingPacket]:
        """Write a custom event, or a message of a client of another protocol as the event `message`."""
        if not isinstance(event, Message):
            return ()
        if is_wrapped(event.envelope):
            found = read_wrapped(event.envelope, HIDDEN)
            return () if found is None else (found,)
        return (OutgoingEvent(b'"message"', [event.envelope]),)
