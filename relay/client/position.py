"""A client's state in its room: the newest id it knows, the members, and the keys to resume with. No I/O."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relay.client.events import Changed, Counted, Envelope, Event, Joined, Left, Lost, Resumed, notice_in
from relay.client.frames import FrameFields
from relay.model.envelope import BEFORE_ALL, MessageId


class RoomPosition:
    """Turns the relay's frames into events, and keeps the state that they change.

    `id` is the newest id received, `resume` the key to resume with. The client draws the first key itself: so it can
    resume even if the first welcome is lost, because the relay accepts the key that a client offered when it joined. A
    program that was restarted gives the last key of its membership.
    """

    def __init__(self, resume: str = "") -> None:
        self.peer = ""
        self.id = BEFORE_ALL
        self.resume = resume or secrets.token_urlsafe(16)
        self._joined_with = ""
        self._unanswered = ""
        self.members: set[str] = set()
        self.count = 0
        self._welcomed = False
        self._counts_only = False
        self.infos: dict[str, dict[str, Any]] = {}
        self.first = False
        self.duplicates = 0
        self.ice_servers: Sequence[Mapping[str, Any]] = ()

    @property
    def known(self) -> bool:
        """Whether this client has been in the room, so that it can resume, or has observed it."""
        return self._welcomed

    def welcome(self, frame: FrameFields) -> list[Event]:
        """Handle a `welcome`: this client is in the room, or observes it."""
        if frame.get("observer"):
            return self._welcome_observer(frame)
        events: list[Event] = []
        resuming, recovered = self.known, frame.get("recovered")
        self.peer = str(frame["peer"])
        self.ice_servers = _read_servers(frame)
        self._joined_with, self.resume = self.resume, str(frame["resume"])
        self._welcomed = True
        if not resuming:
            self.first = bool(frame.get("first"))
        elif not recovered:
            events.append(self._lose(frame))
        self._advance(frame["id"])
        # If the missed events follow, they change the members; the list here is newer than those events.
        if not recovered and "members" in frame:
            changes = self._replace_members(frame)
            events += changes if resuming else []
        return events

    def _welcome_observer(self, frame: FrameFields) -> list[Event]:
        """Begin to observe, or go on: it has missed the events in between, as an observer cannot resume."""
        resuming, self._welcomed = self.known, True
        self._counts_only = "members" not in frame
        self.id = MessageId.parse(str(frame["id"]))
        changes = self._count(frame) if self._counts_only else self._replace_members(frame)
        return [Lost("not_resumed"), *changes] if resuming else []

    def note_unanswered(self) -> None:
        """Note that an attempt to connect had no answer: it may reach the relay late, and take the membership over."""
        self._unanswered = self.resume

    def take_back(self) -> bool:
        """Return whether a late attempt of this client itself took the membership over; then prepare to resume.

        The relay then knows the key which that attempt was made with, not the one it sent afterwards.
        """
        own = bool(self._unanswered) and self._unanswered == self._joined_with
        if own:
            self.resume = self._joined_with
        self._unanswered = ""
        return own

    def receive(self, frame: FrameFields) -> list[Event]:
        """Handle any frame but a `welcome`."""
        match frame.get("type"):
            case None:
                return self._envelope(frame)
            case "presence" if self._counts_only:
                return self._count(frame)
            case "presence" if "members" in frame:
                return self._replace_members(frame)
            case "presence":
                return self._change_members(frame)
            case "recovered":
                replayed = int(frame["replayed"])
                self._advance(frame["id"])
                return [Resumed(replayed)]
            case "error" if frame.get("code") == "messages_lost":
                return [self._lose(frame)]
            case "ack" | "pong":
                self._advance(frame["id"])
            case "ice":
                self.ice_servers = _read_servers(frame)
            case "rules" | "kicked" | "closed" | "move" if "key" not in frame:
                return self._notice(frame)
        return []

    def _lose(self, frame: FrameFields) -> Lost:
        """Continue from the id in the frame, which may be lower: a new epoch can begin anywhere."""
        self.id = MessageId.parse(str(frame["id"]))
        return Lost(str(frame.get("reason", "")))

    def _advance(self, text: object) -> None:
        self.id = max(self.id, _read_id(text))

    def _envelope(self, frame: FrameFields) -> list[Event]:
        message_id = _read_id(frame.get("id"))
        if message_id <= self.id:
            self.duplicates += 1
            return []
        # Made before the state changes: a frame that cannot be read changes nothing.
        event = Envelope(message_id, str(frame["from"]), dict(frame))
        self.id = message_id
        return [event]

    def _notice(self, frame: FrameFields) -> list[Event]:
        message_id, event = _read_id(frame.get("id")), notice_in(frame)
        if message_id <= self.id:
            return []
        self.id = message_id
        return [event]

    def _count(self, frame: FrameFields) -> list[Event]:
        before, self.count = self.count, int(frame["count"])
        return [Counted(self.count)] if self.count != before else []

    def _change_members(self, frame: FrameFields) -> list[Event]:
        joined, left, changed = list(frame["joined"]), list(frame["left"]), list(frame.get("changed", ()))
        infos = {str(peer): _read_info(info) for peer, info in frame.get("info", {}).items()}
        self._advance(frame["id"])
        self.count += len(joined) - len(left)
        # A peer in both lists left and joined again. One that is unknown was not listed, as the room is large.
        return [*self._remove(left), *self._add(joined, infos), *self._add(changed, infos)]

    def _replace_members(self, frame: FrameFields) -> list[Event]:
        """Replace the members by a list; a list that the relay cut short only adds members."""
        listed = {str(member["peer"]): _read_info(member.get("info")) for member in frame["members"]}
        self.count = int(frame["count"])
        complete = len(listed) == self.count
        return [*self._remove(sorted(self.members - set(listed)) if complete else ()), *self._add(listed, listed)]

    def _remove(self, peers: Iterable[str]) -> list[Event]:
        present = [peer for peer in peers if peer in self.members]
        self.members.difference_update(present)
        for peer in present:
            self.infos.pop(peer, None)
        return [Left(peer) for peer in present]

    def _add(self, peers: Iterable[str], infos: Mapping[str, dict[str, Any] | None]) -> list[Event]:
        """Add these peers with their infos; those that are members already may have another info now."""
        events: list[Event] = []
        for peer in peers:
            before, info = self.infos.get(peer), infos.get(peer)
            if info is None:
                self.infos.pop(peer, None)
            else:
                self.infos[peer] = info
            if peer not in self.members:
                self.members.add(peer)
                events.append(Joined(peer, info))
            elif info != before and peer != self.peer:
                events.append(Changed(peer, info))
        return events


def _read_info(info: object) -> dict[str, Any] | None:
    """Read a member's info; anything but an object counts as none."""
    return info if isinstance(info, dict) else None


def _read_servers(frame: FrameFields) -> Sequence[Mapping[str, Any]]:
    """Read the STUN and TURN servers in a frame, if there are any."""
    servers = frame.get("iceServers")
    return tuple(servers) if isinstance(servers, list) else ()


def _read_id(text: object) -> MessageId:
    """Read an id; anything else counts as older than every id."""
    try:
        return MessageId.parse(str(text))
    except ValueError:
        return BEFORE_ALL
