"""Where this client is in its room: what it was told, who is there, and what it has to say to come back. No I/O."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from relay.client.events import Envelope, Event, Joined, Left, Lost, Resumed
from relay.model.envelope import BEFORE_ALL, MessageId

Frame = Mapping[str, Any]


class RoomPosition:
    """Reads what the relay says and makes events of it.

    `id` is the newest id that was told, `resume` the key to come back with. The first key is this client's own, so that
    a first welcome that got lost is no harm: it is good for a place that was given to whoever offered it.
    """

    def __init__(self) -> None:
        self.peer = ""
        self.id = BEFORE_ALL
        self.resume = secrets.token_urlsafe(16)
        self._came_with = ""
        self._unanswered = ""
        self.members: set[str] = set()
        self.first = False
        self.duplicates = 0

    @property
    def known(self) -> bool:
        """Whether there is a place to come back to."""
        return self.id != BEFORE_ALL

    def welcome(self, frame: Frame) -> list[Event]:
        """The relay let this client in."""
        events: list[Event] = []
        returning, recovered = self.known, frame.get("recovered")
        self.peer = str(frame["peer"])
        self._came_with, self.resume = self.resume, str(frame["resume"])
        if not returning:
            self.first = bool(frame.get("first"))
        elif not recovered:
            events.append(self._lose(frame))
        self._advance(frame["id"])
        if not recovered and "members" in frame:
            events += self._replace(frame, told=returning)
        return events

    def unanswered(self) -> None:
        """An attempt to come back had no answer; it may reach the relay late, and take the place over."""
        self._unanswered = self.resume

    def take_back(self) -> bool:
        """Whether it was such an attempt that took the place over, so that it is this client's still.

        The relay then knows the key that the attempt was made with, and not the one it gave afterwards.
        """
        own = bool(self._unanswered) and self._unanswered == self._came_with
        if own:
            self.resume = self._came_with
        self._unanswered = ""
        return own

    def hear(self, frame: Frame) -> list[Event]:
        """The relay said something that answers nothing."""
        match frame.get("type"):
            case None:
                return self._envelope(frame)
            case "presence" if "members" in frame:
                return self._replace(frame, told=True)
            case "presence":
                return self._change(frame)
            case "recovered":
                self._advance(frame["id"])
                return [Resumed(int(frame["replayed"]))]
            case "error" if frame.get("code") == "messages_lost":
                return [self._lose(frame)]
            case "ack" | "pong":
                self._advance(frame["id"])
        return []

    def _lose(self, frame: Frame) -> Lost:
        """What lies between the place and the one that is told now cannot be had; a new epoch may begin anywhere."""
        self.id = MessageId.parse(str(frame["id"]))
        return Lost(str(frame.get("reason", "")))

    def _advance(self, text: object) -> bool:
        """Whether this id is news."""
        try:
            told = MessageId.parse(str(text))
        except ValueError:
            return False
        news = told > self.id
        self.id = max(self.id, told)
        return news

    def _envelope(self, frame: Frame) -> list[Event]:
        if not self._advance(frame.get("id", "")):
            self.duplicates += 1
            return []
        return [Envelope(self.id, str(frame["from"]), dict(frame))]

    def _change(self, frame: Frame) -> list[Event]:
        self._advance(frame["id"])
        # Who is in both lists left and came back.
        joined, left = list(frame["joined"]), list(frame["left"])
        return [*self._gone(left), *self._come(joined)]

    def _replace(self, frame: Frame, *, told: bool) -> list[Event]:
        """A member list; one that was cut short takes nobody away."""
        listed = [str(member["peer"]) for member in frame["members"]]
        whole = len(listed) == frame["count"]
        events = [*self._gone(sorted(self.members - set(listed)) if whole else ()), *self._come(listed)]
        return events if told else []

    def _gone(self, peers: Iterable[str]) -> list[Event]:
        here = [peer for peer in peers if peer in self.members]
        self.members.difference_update(here)
        return [Left(peer) for peer in here]

    def _come(self, peers: Iterable[str]) -> list[Event]:
        new = [peer for peer in peers if peer not in self.members]
        self.members.update(new)
        return [Joined(peer) for peer in new]
