"""The events of a room, as its page hears them: signals, custom events, members that have gone, a new owner."""

import msgspec
from msgspec import Raw

from relay.gateways.socketio.apps.rmc3.arguments import MAX_EXTRA
from relay.gateways.socketio.apps.rmc3.broadcasting import Broadcasting
from relay.gateways.socketio.apps.rmc3.closing import proved_opening
from relay.gateways.socketio.apps.rmc3.contacts import MOST
from relay.gateways.socketio.apps.rmc3.events import DEFAULT_MESSAGE_EVENT, NO_USERS
from relay.gateways.socketio.apps.rmc3.page import PageState
from relay.gateways.socketio.apps.rmc3.signals import (
    CHANNEL,
    CONTROL_CHANNEL,
    EXTRA_CHANNEL,
    Notice,
    read_extra_changed,
    read_notice,
    read_signal,
)
from relay.gateways.socketio.apps.wrapped_events import read_wrapped
from relay.model.events import Event, Failure, Message, PresenceChange, RoomClosed, RulesChanged
from relay.model.names import unescape


class Hearing:
    """Writes the events of one page's room."""

    __slots__ = ("_broadcasting", "_page", "_port")

    def __init__(self, page: PageState, broadcasting: Broadcasting) -> None:
        self._page = page
        self._broadcasting = broadcasting
        self._port = page.port

    def deliver(self, event: Event) -> bool:
        """Write an event of the room; custom events are written alike for all."""
        match event:
            case Message():
                return self._message(event)
            case PresenceChange():
                for peer in event.left:
                    self._gone(peer)
                self._broadcasting.presence_changed(event)
            case RulesChanged():
                # An owner that changes its user id, or a rule, goes on as the owner.
                self._page.owner_changed |= self._page.returning and event.by != event.rules.owner
                self._change_owner(event.rules.owner)
            case RoomClosed():
                self._page.session_closed()
            case Failure():
                self._port.socket.emit("logs", f"{event.code}: {event.text}")
        return False

    def _message(self, message: Message) -> bool:
        page, channel = self._page, message.channel
        if not message.to:
            # While a page changes its user id, it is in the room twice.
            if message.id <= page.newest:
                return False
            page.newest = message.id
        if message.sender in NO_USERS and channel in (CHANNEL, EXTRA_CHANNEL):
            return False
        if channel == CHANNEL:
            self._signal(message)
        elif channel == EXTRA_CHANNEL:
            extra = read_extra_changed(message.envelope)
            if extra and len(extra) <= MAX_EXTRA:
                self._port.socket.emit("extra-data-updated", unescape(message.sender), Raw(extra))
        elif channel == CONTROL_CHANNEL:
            self._obey(message, read_notice(message.envelope))
        else:
            return page.message_event == DEFAULT_MESSAGE_EVENT or not self._is_signal(message.envelope)
        return False

    def _is_signal(self, envelope: bytes) -> bool:
        """Whether an event in an envelope is the one that carries signals, whose name this page has changed."""
        event = read_wrapped(envelope, ())
        return event is not None and event.name == msgspec.json.encode(self._page.message_event)

    def _signal(self, message: Message) -> None:
        found = read_signal(message.envelope, message.sender, self._port.membership.peer)
        if found is None:
            return
        signal, fields = found
        asks_viewer = self._page.scalable and signal.asks_to_join
        if message.to and not (signal.says_goodbye or asks_viewer) and self._page.contacts.begin(message.sender):
            self._port.socket.emit("user-connected", unescape(message.sender))
        self._port.socket.emit(self._page.message_event, fields)

    def _obey(self, message: Message, said: Notice) -> None:
        page, sender = self._page, message.sender
        if said.renamed in NO_USERS:
            return
        if said.closed:
            opening = proved_opening(self._port.worker, message.room, sender, said.closed)
            if opening is not None:
                page.opening_closed(opening)
        if said.renamed:
            self._broadcasting.renamed(sender, said.renamed)
        if said.renamed and (sender in page.contacts or sender == page.stay.owner):
            # Its connections go on under another user id.
            page.contacts.rename(sender, said.renamed)
            if len(page.renamed) < MOST:
                page.renamed[sender] = said.renamed
        if said.parted and page.contacts.end(sender):
            self._port.socket.emit("user-disconnected", unescape(sender))

    def _gone(self, peer: str) -> None:
        known = self._page.contacts.end(peer)
        if peer in NO_USERS:
            return
        # Only the page knows its contacts from before its connection was lost.
        if self._page.renamed.pop(peer, None) is None and (known or self._page.returning):
            self._port.socket.emit("user-disconnected", unescape(peer))

    def _change_owner(self, owner: str) -> None:
        stay = self._page.stay
        before, stay.owner = stay.owner, owner
        mine = owner == self._port.membership.peer
        if not stay.name or stay.ends or owner == before or (not mine and self._page.renamed.get(before) == owner):
            # A page knows itself that it has another user id.
            return
        if before and stay.attributes.auto_close:
            # The room ends with its owner; the participants learn that from their connections with it.
            stay.ends = True
            self._port.socket.spawn(stay.leave_from(stay.name))
        elif mine:
            self._port.socket.emit("set-isInitiator-true", stay.name)
            self._page.list_room()
