"""One page of RTCMultiConnection 3: it comes and goes, emits events, and hears those of its room."""

from relay.gateways.socketio.apps.application import Opened
from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.arguments import read_arguments
from relay.gateways.socketio.apps.rmc3.broadcasting import BROADCAST_EVENTS, Broadcasting
from relay.gateways.socketio.apps.rmc3.early_events import EarlyEvents
from relay.gateways.socketio.apps.rmc3.events import BROADCAST_MESSAGE
from relay.gateways.socketio.apps.rmc3.extras import read_extra_of
from relay.gateways.socketio.apps.rmc3.hearing import Hearing
from relay.gateways.socketio.apps.rmc3.page import PageState
from relay.gateways.socketio.apps.rmc3.places import place_key
from relay.gateways.socketio.apps.rmc3.requests import NAMES, PageRequests, Work
from relay.gateways.socketio.apps.rmc3.reservation import Reservation
from relay.gateways.socketio.apps.rmc3.returning import Returning
from relay.gateways.socketio.apps.rmc3.signaling import Signaling
from relay.gateways.socketio.apps.wrapped_events import wrap
from relay.gateways.socketio.parser import IncomingEvent
from relay.logs import LogIntervals
from relay.model.commands import Publish
from relay.model.errors import RelayError
from relay.model.events import Event, Welcome
from relay.model.names import escape_peer


class Rmc3Client:
    """The `ApplicationClient` of one page.

    `allowed` are the events that clients may emit, `*` for all. `lines` bounds the log lines of all pages together.
    With `lists_rooms`, rooms have public identifiers.
    """

    __slots__ = (
        "_allowed",
        "_broadcasting",
        "_early",
        "_hearing",
        "_lists_rooms",
        "_page",
        "_port",
        "_requests",
        "_reservation",
        "_returning",
        "_signaling",
    )

    _broadcasting: Broadcasting

    _page: PageState
    _requests: PageRequests
    _reservation: Reservation
    _returning: Returning
    _signaling: Signaling
    _hearing: Hearing | None

    def __init__(self, port: ClientPort, allowed: frozenset[str], lines: LogIntervals, *, lists_rooms: bool) -> None:
        self._port = port
        self._allowed = allowed
        self._lists_rooms = lists_rooms
        self._early = EarlyEvents(port.worker.settings.max_message, lines)
        # Made in `open`, which knows the client's token.
        self._hearing = None

    async def open(self) -> Opened:
        """Accept the page; raises `Refused` (`bad_peer`) for a user id that no peer may have."""
        port = self._port
        userid = escape_peer(port.handshake.query.get("userid") or port.worker.random.peer_id())
        key = place_key(port, userid)
        self._page = page = PageState(port, userid, key, lists_rooms=self._lists_rooms)
        self._returning = Returning(
            port,
            key,
            page.stay,
            on_attempt=self._attempts,
            on_returned=self._returned,
            on_taken=page.tell_taken,
            on_given_up=self._serve_early,
        )
        self._reservation = Reservation(port)
        self._broadcasting = Broadcasting(page, self._returning, self._reservation)
        self._requests = PageRequests(page, self._returning, self._broadcasting, self._reservation)
        self._signaling = Signaling(page)
        self._hearing = Hearing(page, self._broadcasting)
        return Opened(port.worker.random.peer_id(), key.private_id)

    async def opened(self) -> None:
        """Bring the page back into the room in which it was."""
        await self._returning.begin()

    def _attempts(self, *, returning: bool) -> None:
        self._page.returning = returning

    def _returned(self, welcome: Welcome) -> None:
        """Go on in a room: the page has heard of the present members."""
        page = self._page
        page.userid = welcome.peer
        page.tell_missed(welcome)
        for one in welcome.roster.members if welcome.roster else ():
            if one.peer != welcome.peer:
                page.contacts.begin(one.peer)
            elif one.info:
                # The handshake has the extra data with which the page began.
                page.extra = page.shown_extra = read_extra_of(one.info)
        if page.owner_changed and page.stay.attributes.auto_close:
            # The room has ended with its owner.
            if page.scalable:
                self._port.socket.emit("broadcast-stopped", page.stay.name)
            self._port.socket.spawn(page.stay.leave_from(page.stay.name))
        elif page.stay.owns:
            self._port.socket.emit("set-isInitiator-true", page.stay.name)
            page.list_room()
        if page.scalable:
            self._port.socket.spawn(self._broadcasting.returned())
        page.end_if_closed()
        self._serve_early()

    def _serve_early(self) -> None:
        """Serve the events that have waited: the page is in its room, or is told that it is in none."""
        if self._hearing is None:
            # The page has gone meanwhile.
            return
        for event in self._early.take():
            try:
                self.received(event)
            except RelayError as error:
                self._page.refuse(error)

    def received(self, event: IncomingEvent) -> Work | None:
        """Serve an event; one that is neither known nor registered is ignored, as by the original server."""
        page, name = self._page, str(event.name)
        if self._returning.is_undecided and not event.id and (name == page.message_event or name in page.customs):
            # One with a callback may be a question, which is answered in any case.
            self._early.hold(event)
            return None
        if name == page.message_event:
            return self._signaling.send(read_arguments(event), event.id)
        if name in NAMES:
            return self._requests.handle(name, read_arguments(event), event.id)
        if page.scalable and name in BROADCAST_EVENTS:
            return self._broadcasting.handle(name, read_arguments(event), event.id)
        if name in page.customs or (page.scalable and name == BROADCAST_MESSAGE):
            page.customs.check(name, self._allowed)
            self._port.publisher.publish(
                Publish(wrap(event, self._port.worker.settings.max_message, "")), page.tell_failure
            )
        return None

    def deliver(self, event: Event) -> bool:
        """Write an event of the room."""
        return self._hearing is not None and self._hearing.deliver(event)

    def ended(self, *, goodbye: bool) -> None:
        """Stop trying to come back, and drop the objects that refer to this one."""
        if self._hearing is not None:
            self._returning.stop()
            self._broadcasting.stop()
            if self._reservation.is_held:
                self._port.socket.spawn(self._reservation.give_back())
            self._hearing = None
            del self._returning, self._requests, self._broadcasting
