"""The hubs that clients may name: each method of a hub calls one method of the room's clients."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from relay.gateways.signalrclassic.errors import ClassicRefused
from relay.gateways.signalrclassic.settings import HUB_METHOD

BUILT_IN: Final = "webRtcHub3.Send:onMessageReceived"
"""The hub of pages for WebRTC: `send` takes the JSON text of a message, and all pages get it."""

_SHOWN: Final = 64
"""Characters of a client's name in an error."""


class HubMethod(NamedTuple):
    """A method as it is declared, and the method of the clients that it calls.

    One that `takes_messages` has one argument, the text of a message, and any other takes any arguments.
    """

    name: str
    calls: str
    takes_messages: bool = False


class ClassicHub(NamedTuple):
    """A hub; its `methods` have names in lower case, as clients write any case.

    The messages of other protocols reach the clients of the hub that `hears_room`.
    """

    name: str
    methods: Mapping[str, HubMethod]
    hears_room: bool = False

    def method(self, name: str) -> HubMethod | None:
        """Return the method with this name, in any case."""
        return self.methods.get(name.lower())

    def calls(self, client_method: str) -> bool:
        """Return whether a method of the hub calls this method of the clients."""
        return any(method.calls == client_method for method in self.methods.values())


class ClassicHubs:
    """All hubs, in the order of the setting; `entries` are those of `ClassicSettings`."""

    def __init__(self, entries: Iterable[str]) -> None:
        found: dict[str, tuple[str, dict[str, HubMethod]]] = {}
        for entry in (BUILT_IN, *entries):
            match = HUB_METHOD.fullmatch(entry)
            if match is None:
                raise ValueError(f"not HUB.METHOD:CLIENT_METHOD: {entry!r}")
            _, methods = found.setdefault(match[1].lower(), (match[1], {}))
            methods[match[2].lower()] = HubMethod(match[2], match[3], entry == BUILT_IN)
        first = next(iter(found))
        self._hubs = {key: ClassicHub(name, methods, key == first) for key, (name, methods) in found.items()}

    def __iter__(self) -> Iterator[ClassicHub]:
        return iter(self._hubs.values())

    def find(self, name: str) -> ClassicHub | None:
        """Return the hub with this name, in any case."""
        return self._hubs.get(name.lower())

    def named(self, names: Iterable[str]) -> tuple[ClassicHub, ...]:
        """Return the hubs with these names, each once and in the order of the setting.

        Raises `ClassicRefused` (`no_such_hub`), in the original's words.
        """
        wanted = set()
        for name in names:
            if self.find(name) is None:
                raise ClassicRefused("no_such_hub", unresolved_hub(name))
            wanted.add(name.lower())
        return tuple(hub for key, hub in self._hubs.items() if key in wanted)


def unresolved_hub(name: str) -> str:
    """Return the original's error about a hub that does not exist."""
    return f"'{name[:_SHOWN]}' Hub could not be resolved."


def unresolved_method(name: str) -> str:
    """Return the original's error about a method that does not exist."""
    return f"'{name[:_SHOWN]}' method could not be resolved."
