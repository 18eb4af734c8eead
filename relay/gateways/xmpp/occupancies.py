"""The rooms in which one client is an occupant, and the stanzas about them, in the order of XEP-0045.

A client that enters gets the presence of all others, its own one last, the history if it asks for it, and the subject.
Events of the room wait until then.
"""

import time
from collections.abc import Sequence
from typing import Final, Protocol

from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.checkpoint import Missed
from relay.gateways.xmpp.codec import JOINED, LEFT, RENAMED, RoomFrame, Stanza, XmppCodec
from relay.gateways.xmpp.envelopes import SUBJECT, renamed, said
from relay.gateways.xmpp.jids import nick_of
from relay.gateways.xmpp.namespaces import MUC
from relay.gateways.xmpp.reading import Element
from relay.gateways.xmpp.stream_management import Source
from relay.ids import fingerprint
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Join, Publish
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import KICKED, ROOM_CLOSED, CloseReason, Refused, RelayError
from relay.model.rules import MAX_PASSWORD

MOST_HISTORY: Final = 256
"""Events of a room that are looked through for its history."""

_MOST_BEFORE: Final = 1024
"""Events that wait for the end of a join; a client for which more wait is closed."""

MOST_BYTES_BEFORE: Final = 1_048_576
"""Bytes of these."""

MOST_ASKED: Final = 128
"""IQs to other occupants that wait for their answers; the answer to an older one is dropped."""


class Occupancy:
    """The client in one room, as `peer`. `welcome` is None until it is there.

    `waiting` are the events that wait for the end of the join, None once it is over. `last` is the id of the last
    message that was written. `next_peer` is the peer id that the client is about to have. `announced` are peers that
    have left, as the client was told already.
    """

    __slots__ = ("announced", "last", "next_peer", "peer", "request", "room", "waiting", "waiting_bytes", "welcome")

    def __init__(self, room: str, peer: str, request: str) -> None:
        self.room = room
        self.peer = peer
        self.next_peer = ""
        self.request = request
        self.welcome: events.Welcome | None = None
        self.waiting: list[RoomFrame] | None = []
        self.waiting_bytes = 0
        self.last = BEFORE_ALL
        self.announced: set[str] = set()


class Occupant(Protocol):
    """The session of the client."""

    def send(self, frame: Frame, source: Source | None = None) -> None:
        """Write a stanza; one that an event of a room has caused has its source."""
        ...

    @property
    def counts(self) -> bool:
        """Whether each message of a room must be one stanza, as its number counts."""
        ...

    def entered(self, room: str, position: MessageId) -> None:
        """Take note that the client is in a room, and gets the events after this id."""
        ...

    async def enter_room(self, join: Join) -> None:
        """Join a room; its events come to `Occupancies.deliver`."""
        ...

    async def rename(self, room: str, peer: str, farewell: Publish) -> None:
        """Take another peer id in a room, with a farewell of the one before."""
        ...

    async def leave_room(self, room: str) -> None:
        """Leave a room."""
        ...

    async def history(self, room: str) -> Sequence[events.Message]:
        """Return the last messages of a room that the client is in."""
        ...

    def overflow(self) -> None:
        """Close a client for which too much waits."""
        ...


class Occupancies:
    """Enters and leaves rooms for a client, and writes the events of its rooms as stanzas.

    `asked` are the questions of a client that comes back.
    """

    def __init__(self, occupant: Occupant, codec: XmppCodec, asked: Sequence[str] = ()) -> None:
        self._occupant = occupant
        self._codec = codec
        self.rooms: dict[str, Occupancy] = {}
        self._asked: dict[str, None] = dict.fromkeys(asked)

    def of(self, room: str) -> Occupancy:
        """Return the client's occupancy of a room; raises `Refused` (`not_joined`)."""
        occupancy = self.rooms.get(room)
        if occupancy is None or occupancy.welcome is None:
            raise Refused("not_joined", room=room)
        return occupancy

    def resume(self, welcome: events.Welcome, missed: Sequence[Missed]) -> None:
        """Go on in a room in which the client has been; `missed` came since its last checkpoint."""
        occupancy = self.rooms[welcome.room] = Occupancy(welcome.room, welcome.peer, "")
        occupancy.welcome, occupancy.waiting = welcome, None
        farewells = [one.stanza for one in missed if one.stanza is not None and one.stanza.kind == RENAMED]
        # The client's own farewell, of which it was told when it changed its nick.
        occupancy.announced.update([one.peer for one in farewells if one.id == nick_of(welcome.peer)])

    # In and out.

    async def enter(self, room: str, peer: str, stanza: Element, join: Join) -> None:
        """Enter a room, or change the nick of a client that is there; `stanza` is its request."""
        occupancy, request = self.rooms.get(room), stanza.get("id")
        if occupancy is not None:
            if peer != occupancy.peer:
                await self._rename(occupancy, peer, request)
            else:
                # A client that is not sure whether it is there, or that tells its own presence.
                self._occupant.send(self._own(occupancy, request))
            return
        occupancy = self.rooms[room] = Occupancy(room, peer, request)
        try:
            await self._occupant.enter_room(join)
            if occupancy.welcome is None:
                return
            self._greet(occupancy, occupancy.welcome)
            past = await self._past(occupancy, stanza)
        finally:
            if occupancy.welcome is None and self.rooms.get(room) is occupancy:
                del self.rooms[room]
        self._end_greeting(occupancy, past)

    async def leave(self, room: str, request: str) -> None:
        """Leave a room; the answer repeats the id of the request."""
        occupancy = self.of(room)
        del self.rooms[room]
        await self._occupant.leave_room(room)
        own = self._codec.occupant(room, occupancy.peer)
        self._occupant.send(stanzas.presence(own, leaves=True, statuses=[stanzas.OWN], stanza_id=request))

    def put_out(self, room: str, reason: CloseReason) -> None:
        """Tell the client that it is in a room no more, as the room has decided so."""
        occupancy = self.rooms.pop(room, None)
        if occupancy is None:
            return
        statuses = [stanzas.OWN, stanzas.KICKED] if reason is KICKED else [stanzas.OWN]
        own = self._codec.occupant(room, occupancy.peer)
        self._occupant.send(stanzas.presence(own, leaves=True, statuses=statuses, destroys=reason is ROOM_CLOSED))

    async def _rename(self, occupancy: Occupancy, peer: str, request: str) -> None:
        former, room = occupancy.peer, occupancy.room
        occupancy.next_peer = peer
        occupancy.announced.add(former)
        try:
            await self._occupant.rename(room, peer, renamed(room, nick_of(peer)))
        except RelayError:
            occupancy.next_peer = ""
            occupancy.announced.discard(former)
            raise
        occupancy.peer, occupancy.next_peer, occupancy.request = peer, "", request
        gone = stanzas.presence(
            self._codec.occupant(room, former),
            leaves=True,
            statuses=[stanzas.OWN, stanzas.RENAMED],
            nick=nick_of(peer),
        )
        self._occupant.send(gone)
        self._occupant.send(self._own(occupancy, request))

    def _own(self, occupancy: Occupancy, request: str, *, first: bool = False) -> Frame:
        statuses = [stanzas.OWN, stanzas.CREATED] if first else [stanzas.OWN]
        own = self._codec.occupant(occupancy.room, occupancy.peer)
        return stanzas.presence(own, statuses=statuses, owns=first, stanza_id=request)

    # The order of a join.

    def _greet(self, occupancy: Occupancy, welcome: events.Welcome) -> None:
        roster = welcome.roster
        for present in roster.members if roster else ():
            if present.peer != occupancy.peer:
                self._occupant.send(stanzas.presence(self._codec.occupant(welcome.room, present.peer)))
        self._occupant.send(self._own(occupancy, occupancy.request, first=welcome.first))

    async def _past(self, occupancy: Occupancy, stanza: Element) -> Sequence[events.Message]:
        """Return the messages of the history that the client asks for; none unless it asks for any."""
        about = stanza.child("x", MUC)
        asked = None if about is None else about.child("history", MUC)
        if asked is None:
            return ()
        most, characters = _count(asked.get("maxstanzas")), _count(asked.get("maxchars"))
        if 0 in {most, characters} or not (most or characters or asked.get("since") or asked.get("seconds")):
            return ()
        past = await self._occupant.history(occupancy.room)
        return past[-min(most, MOST_HISTORY) :] if most else past

    def _end_greeting(self, occupancy: Occupancy, past: Sequence[events.Message]) -> None:
        # The history has no times: each of its messages counts as one of the time at which it is read.
        sent = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        topic = ""
        for message in past:
            if b'"subject"' in message.envelope and (told := said(message.envelope)).rest.kind == SUBJECT:
                topic = told.subject or ""
            else:
                self._occupant.send(self._codec.message(message, sent).frame)
        self._occupant.send(stanzas.subject(self._codec.room(occupancy.room), topic))
        waiting, occupancy.waiting = occupancy.waiting, None
        for frame in waiting or ():
            self._deliver(occupancy, frame)

    # Events.

    def deliver(self, frame: RoomFrame) -> None:
        """Write the stanzas of an event that are for this client."""
        event = frame.event
        occupancy = self.rooms.get(event.room)
        if occupancy is None:
            return
        if isinstance(event, events.Welcome):
            occupancy.welcome, occupancy.peer = event, event.peer
            self._occupant.entered(event.room, event.id)
        elif occupancy.waiting is not None:
            occupancy.waiting.append(frame)
            occupancy.waiting_bytes += sum([len(one.frame.data) for one in frame.stanzas])
            if len(occupancy.waiting) > _MOST_BEFORE or occupancy.waiting_bytes > MOST_BYTES_BEFORE:
                self._occupant.overflow()
        else:
            self._deliver(occupancy, frame)

    def _deliver(self, occupancy: Occupancy, frame: RoomFrame) -> None:
        event = frame.event
        if isinstance(event, events.Message):
            # A client that changes its nick is in the room twice for a moment.
            if event.id > occupancy.last:
                occupancy.last = event.id
                self._write_message(occupancy, frame.stanzas[0], Source(event.room, event.id))
        elif isinstance(event, events.PresenceChange):
            for stanza in frame.stanzas:
                self._write_presence(occupancy, stanza, Source(event.room, event.id, logged=False))
        elif isinstance(event, events.Kicked) and event.peer != occupancy.peer:
            occupancy.announced.add(event.peer)
            gone = stanzas.presence(
                self._codec.occupant(event.room, event.peer),
                leaves=True,
                statuses=[stanzas.KICKED],
                reason=event.reason,
            )
            self._occupant.send(gone)
        elif isinstance(event, events.PresenceList):
            self._compare(occupancy, event.roster)

    def deliver_missed(self, missed: Missed, stanza: Stanza) -> None:
        """Write the stanza of an event that came while the client was away."""
        occupancy = self.rooms[missed.room]
        source = Source(missed.room, missed.id, missed.logged)
        if not missed.logged:
            self._write_presence(occupancy, stanza, source)
            return
        occupancy.last = missed.id
        self._write_message(occupancy, stanza, source)

    def _write_message(self, occupancy: Occupancy, stanza: Stanza, source: Source) -> None:
        if stanza.kind == RENAMED:
            if stanza.peer == occupancy.peer or stanza.peer in occupancy.announced:
                self._write_nothing(source)
                return
            occupancy.announced.add(stanza.peer)
        elif stanza.kind in {"result", "error"}:
            question = _fingerprint(source.room, stanza.peer, stanza.id)
            if question not in self._asked:
                self._write_nothing(source)
                return
            del self._asked[question]
            source = source._replace(kept=True)
        self._occupant.send(stanza.frame, source)

    def _write_nothing(self, source: Source) -> None:
        """Write a stanza without content, where the client counts the messages of the room."""
        if self._occupant.counts:
            nothing = stanzas.stanza("message", {"from": self._codec.room(source.room), "type": "headline"})
            self._occupant.send(nothing, source._replace(kept=True))

    def _write_presence(self, occupancy: Occupancy, stanza: Stanza, source: Source) -> None:
        if stanza.peer in {occupancy.peer, occupancy.next_peer}:
            return
        if stanza.kind == LEFT and stanza.peer in occupancy.announced:
            occupancy.announced.discard(stanza.peer)
            return
        if stanza.kind == JOINED:
            occupancy.announced.discard(stanza.peer)
        self._occupant.send(stanza.frame, source)

    def _compare(self, occupancy: Occupancy, roster: events.Roster) -> None:
        """Tell the client of the present occupants, after events were lost."""
        for present in roster.members:
            if present.peer != occupancy.peer:
                self._occupant.send(stanzas.presence(self._codec.occupant(occupancy.room, present.peer)))

    # IQs between occupants.

    def ask(self, room: str, peer: str, stanza_id: str) -> None:
        """Take note that an occupant is asked: its answer is let through, and only that."""
        question = _fingerprint(room, peer, stanza_id)
        self._asked.pop(question, None)
        self._asked[question] = None
        while len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]

    @property
    def asked(self) -> tuple[str, ...]:
        """The fingerprints of the IQs that wait for their answers."""
        return (*self._asked,)


def _fingerprint(room: str, peer: str, stanza_id: str) -> str:
    """Return a short key of a question: an id is as long as the client has made it."""
    return fingerprint("\0".join((room, peer, stanza_id)))


def join_of(room: str, peer: str, stanza: Element) -> Join:
    """Return the command to enter a room, with the password that the client gives; raises `Refused`."""
    about = stanza.child("x", MUC)
    password = about.child("password", MUC) if about is not None else None
    text = password.text if password is not None else ""
    if len(text) > MAX_PASSWORD:
        raise Refused("bad_password", f"a password has at most {MAX_PASSWORD} characters")
    return Join(room, peer=peer, echo=True, presence=True, password=text)


def _count(text: str) -> int | None:
    """Read a count, None for none; the first nine digits of a longer one exceed every bound as well."""
    return int(text[:9]) if text.isascii() and text.isdigit() else None
