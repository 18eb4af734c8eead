"""The state of one page: its user id, its extra data, its room, and its contacts."""

from collections.abc import Mapping
from typing import Final

import msgspec

from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.arguments import MAX_EXTRA
from relay.gateways.socketio.apps.rmc3.closing import closing_proof
from relay.gateways.socketio.apps.rmc3.contacts import Contacts
from relay.gateways.socketio.apps.rmc3.events import CustomEvents, message_event
from relay.gateways.socketio.apps.rmc3.places import PlaceKey
from relay.gateways.socketio.apps.rmc3.stay import Stay
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import Refused, RelayError
from relay.model.events import Welcome
from relay.model.json_text import nests_deeper
from relay.model.names import unescape
from relay.model.publication import Receipt

_DEFAULT_MOST: Final = 1000
"""Participants that a page allows if it says nothing."""


class PageState:
    """The state of one page; `userid` is the peer id that it has in rooms.

    `extra` is its extra data as JSON, and `shown_extra` the one that its room was told last. `newest` is the id of the
    newest message to all that it has got. `renamed` has the peer ids that others have given up for another one. A
    `scalable` page takes part in a broadcast. While the page comes back (`returning`), it gets the events that it has
    missed; `owner_changed` tells that the room has another owner since.
    """

    __slots__ = (
        "contacts",
        "customs",
        "extra",
        "lists_rooms",
        "message_event",
        "newest",
        "owner_changed",
        "port",
        "renamed",
        "returning",
        "scalable",
        "shown_extra",
        "stay",
        "userid",
    )

    def __init__(self, port: ClientPort, userid: str, key: PlaceKey, *, lists_rooms: bool) -> None:
        query = port.handshake.query
        self.port = port
        self.userid = userid
        self.lists_rooms = lists_rooms
        self.message_event = message_event(query)
        self.customs = CustomEvents(query)
        self.extra = _first_extra(query)
        self.shown_extra = b""
        self.contacts = Contacts()
        self.returning = self.owner_changed = False
        self.scalable = query.get("enableScalableBroadcast") == "true"
        self.renamed: dict[str, str] = {}
        self.newest: MessageId = BEFORE_ALL
        auto_close = query.get("autoCloseEntireSession") == "true"
        self.stay = Stay(port, key, most=_read_most(query.get("maxParticipantsAllowed", "")), auto_close=auto_close)

    def forget_room(self) -> None:
        """Forget the contacts of the page, as it goes to another room."""
        self.contacts.clear()
        self.renamed.clear()
        self.newest = BEFORE_ALL

    def list_room(self) -> None:
        """List the room of a page that owns it, if it is public."""
        if self.lists_rooms:
            self.stay.list_if_public()

    # The end of the room for all.

    def closing_proof(self) -> str:
        """Return the proof that this page, the owner, ends the room."""
        membership = self.port.membership
        return closing_proof(self.port.worker, membership.room, membership.peer, self.stay.attributes.opening)

    def opening_closed(self, opening: str) -> None:
        """Take note that the owner has ended the room as it was opened then: at once, or when the page has entered."""
        if not self.stay.name:
            self.stay.closings.add(opening)
        elif self.stay.attributes.opening == opening:
            self.end_session()

    def session_closed(self) -> None:
        """Take note that the room has ended: at once, or when the page has entered it."""
        self.stay.closed = True
        if self.stay.name:
            self.end_session()

    def end_if_closed(self) -> None:
        """End the session of a page that has just entered, if the room has ended meanwhile."""
        if self.stay.closed or self.stay.attributes.opening in self.stay.closings:
            self.end_session()

    def end_session(self) -> None:
        """Tell the page that the room has ended, and leave it."""
        stay = self.stay
        if stay.name and not stay.ends:
            stay.ends = True
            self.port.socket.emit("closed-entire-session", stay.name, {})
            self.port.socket.spawn(stay.leave_from(stay.name))

    def tell_failure(self, outcome: Receipt | RelayError) -> None:
        """Tell the page of a message that was not published; not of one to a user that is gone, as the original."""
        if isinstance(outcome, RelayError) and outcome.code != "no_such_peer":
            self.port.socket.emit("logs", f"{outcome.code}: {outcome.text}")

    def tell_lost_signal(self, receiver: str, outcome: Receipt | RelayError) -> None:
        """Tell the page of a signal that was not published, as `tell_failure` does, and to whom; the id is escaped."""
        if isinstance(outcome, RelayError) and outcome.code != "no_such_peer":
            self.port.socket.emit("logs", f"{outcome.code}: {outcome.text} (signal to {unescape(receiver)})")

    def refuse(self, error: RelayError) -> None:
        """Tell the page of an error that no event of it is answered with just now, and count it."""
        self.tell_failure(error)
        self.port.socket.spawn(_fail(error))

    def tell_missed(self, welcome: Welcome) -> None:
        """Tell the page, which has its place in a room again, if it may have missed messages for good."""
        if welcome.resumed and not welcome.recovered:
            reason = welcome.reason or "it is not known which"
            self.refuse(Refused("messages_lost", f"messages were missed, and cannot be replayed ({reason})"))

    def tell_taken(self, peer: str = "") -> None:
        """Tell the page that somebody else has its user id: it takes another one, and joins anew."""
        suggestion = str(int(self.port.worker.random.peer_id()[:12], 16))
        self.port.socket.emit("userid-already-taken", unescape(peer or self.userid), suggestion)


async def _fail(error: RelayError) -> None:
    """Raise an error: the session counts those of its work."""
    raise error


def _first_extra(query: Mapping[str, str]) -> bytes:
    """Return the extra data of the handshake; `{}` for a text that is no JSON, too large, or nests too deep."""
    text = query.get("extra", "").encode()
    if not text or len(text) > MAX_EXTRA or nests_deeper(text):
        return b"{}"
    try:
        # Written anew: other pages get JSON as the relay writes it.
        return msgspec.json.encode(msgspec.json.decode(text))
    except (msgspec.MsgspecError, ValueError):
        return b"{}"


def _read_most(text: str) -> int:
    most = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
    return most or _DEFAULT_MOST
