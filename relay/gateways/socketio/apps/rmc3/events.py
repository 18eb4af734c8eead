"""The names of events: those of the original server, and those that a page chooses."""

from collections.abc import Collection, Mapping
from typing import Final

from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.parser import INHERITED_NAMES, MAX_NAME, RESERVED_EVENTS

DEFAULT_MESSAGE_EVENT: Final = "RTCMultiConnection-Message"
"""The event that carries signals, unless a page names another one."""

BROADCAST_MESSAGE: Final = "scalable-broadcast-message"
"""The event by which the pages of a broadcast talk to each other."""

FROM_SERVER: Final = frozenset(
    {
        DEFAULT_MESSAGE_EVENT,
        "user-connected", "user-disconnected", "extra-data-updated", "userid-already-taken", "set-isInitiator-true",
        "user-not-found", "closed-entire-session", "logs", "admin", "start-broadcasting", "join-broadcaster",
        "rejoin-broadcast", "broadcast-stopped", "number-of-broadcast-viewers-updated",
    }
)  # fmt: skip
"""Events that pages believe of their server."""

HIDDEN: Final[frozenset[str | int]] = frozenset(RESERVED_EVENTS | INHERITED_NAMES | FROM_SERVER | {"error"})
"""Events that no client can emit to a page through its room: they would deceive or break it."""

_OF_PEERS: Final = frozenset({"getLength", "selectFirst", "getAllParticipants", "forEach", "send"})
"""Methods of the object in which the library has the users that a page is connected with."""

NO_USERS: Final = INHERITED_NAMES | _OF_PEERS
"""Ids of users of whom no page hears: it would find properties of its objects under them, and change or call these."""

MOST_REGISTERED: Final = 100
"""Events that a page may register."""


def message_event(query: Mapping[str, str]) -> str:
    """Return the name of the event that carries signals for a page."""
    name = query.get("msgEvent", "")
    return (
        name if 0 < len(name) <= MAX_NAME and name not in RESERVED_EVENTS | INHERITED_NAMES else DEFAULT_MESSAGE_EVENT
    )


class CustomEvents:
    """The events that a page may emit to its room: that of its handshake, and those that it registers."""

    __slots__ = ("_names",)

    def __init__(self, query: Mapping[str, str]) -> None:
        first = query.get("socketCustomEvent", "")
        self._names: set[str] = {first} if _is_free(first) else set()

    def __contains__(self, name: object) -> bool:
        """Whether the page may emit an event of this name."""
        return name in self._names

    def add(self, name: str, known: Collection[str]) -> None:
        """Register a name, which must not be one of the `known` events; raises `BadEvent`."""
        if not _is_free(name) or name in known:
            raise BadEvent("reserved_event", about="event")
        if len(self._names) >= MOST_REGISTERED and name not in self._names:
            raise BadEvent("bad_event", f"a page registers at most {MOST_REGISTERED} events", about="event")
        self._names.add(name)

    def check(self, name: str, allowed: Collection[str]) -> None:
        """Raise `BadEvent` (`event_not_allowed`) if clients may not emit this event; `*` allows all."""
        if "*" not in allowed and name not in allowed:
            raise BadEvent("event_not_allowed", about="event")


def _is_free(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name not in HIDDEN
