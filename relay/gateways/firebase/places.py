"""Where a path of a client leads: to a room, and to a path in its tree; and which channel of the room that is."""

import re
from dataclasses import dataclass
from typing import Final

from relay.model.errors import Refused
from relay.model.names import escape_room, unescape
from relay.model.tree import join, read_path

_ESCAPED: Final = re.compile("%(25|2E|23|24|5B|5D|2F)")
_TO_ESCAPE: Final = re.compile(r"[.#$\[\]/]|%(?=25|2E|23|24|5B|5D|2F)")
_NO_KEY: Final = re.compile(r"[.#$\[\]\x00-\x1f\x7f]")


def key_of(room: str) -> str:
    """Return the key for the name of a room: characters that keys may not have are percent-encoded, as in Firebase."""
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", room)


def legal_key(text: str) -> str:
    """Return a text as a key: characters that keys may not have are percent-encoded."""
    return _NO_KEY.sub(lambda found: f"%{ord(found[0]):02X}", text)


def room_of(key: str) -> str:
    """Return the name of the room that a key stands for."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), key)


@dataclass(frozen=True, slots=True)
class TreePlace:
    """A path of a client. `room` is the escaped name of the room, `path` the path in its tree."""

    room: str
    path: str


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one connection.

    `namespace` is the escaped name of its only room; "" if the first key of a path is the room.
    """

    namespace: str = ""

    def find(self, text: str) -> TreePlace:
        """Return the place of a path; raises `Refused` (`bad_path`, `bad_room`)."""
        keys = read_path(text)
        if self.namespace:
            return TreePlace(self.namespace, "/".join(keys))
        if not keys:
            raise Refused("bad_room", "the first key of a path is a room; nothing is above rooms")
        room = room_of(keys[0])
        if key_of(room) != keys[0]:
            raise Refused("bad_room", "in the name of a room, %25 stands for a % in front of such an escape alone")
        return TreePlace(escape_room(room), "/".join(keys[1:]))

    def text(self, room: str, path: str) -> str:
        """Return the path as the client writes it."""
        return path if self.namespace else join(key_of(unescape(room)), path)

    def channel(self, room: str, path: str) -> str:
        """Return the channel of messages that are children of a path."""
        return path or self._default(room)

    def node(self, room: str, channel: str) -> str:
        """Return the path whose children the messages of a channel are."""
        if not channel or channel == self._default(room):
            return ""
        keys = [key for key in channel.split("/") if key]
        return "/".join(map(legal_key, keys))

    def _default(self, room: str) -> str:
        return "" if self.namespace else unescape(room)
