"""WebSync channels: names of paths. Some first segments belong to the protocol itself."""

from typing import Final

HANDSHAKE: Final = "/meta/handshake"
CONNECT: Final = "/meta/connect"
DISCONNECT: Final = "/meta/disconnect"
BIND: Final = "/meta/bind"
UNBIND: Final = "/meta/unbind"
SUBSCRIBE: Final = "/meta/subscribe"
UNSUBSCRIBE: Final = "/meta/unsubscribe"
NOTIFY: Final = "/meta/notify"
META: Final = "/meta/"
SERVICE: Final = "/service/"

SUBSCRIBERS: Final = "/fm/subscribers"
"""The prefix of a channel's name, in the name of the channel on which its subscribers are told."""

MAX_CHANNEL: Final = 255
"""Bytes of the name of a channel."""

_RESERVED: Final = ("/meta", "/service", "/fm")


def is_ordinary(name: str) -> bool:
    """Return whether pages may publish on a channel of this name."""
    if not name.startswith("/") or not 1 < len(name.encode("utf-8", "surrogatepass")) <= MAX_CHANNEL:
        return False
    return not any(name == word or name.startswith(f"{word}/") for word in _RESERVED)


def may_be_heard(name: str) -> bool:
    """Return whether pages may subscribe to a channel of this name."""
    return is_ordinary(name.removeprefix(SUBSCRIBERS))
