"""The names of settings in earlier versions; the relay accepts them, with a warning, until version 2.0.

Most settings were only renamed. Some were folded: two old settings became one (`Merge` says how), or the relay now
chooses the value itself, and the old setting has no effect.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from relay.config.declaring import to_flag

Merge = Callable[[Mapping[str, str]], str]
"""Makes the new setting's text from the texts of those old settings that are set."""

_OLD_TTL: Final = "3600"
"""The default that `presence_ttl` and `sequence_ttl` had."""


class OldName(NamedTuple):
    """A setting of earlier versions: its name, and the setting that has its meaning today.

    `new` is empty if the setting was removed; `now` then says what the relay does instead. `secret` says whether the
    setting could be read from a file, as `RELAY_NAME_FILE`. `folded` marks a setting that was merged with another one.
    """

    name: str
    new: str = ""
    now: str = ""
    secret: bool = False
    folded: bool = False

    @property
    def flag(self) -> str:
        """`--like-this`."""
        return to_flag(self.name)


OLD_NAMES: Final = (
    OldName("redis", "redis_url", secret=True),
    OldName("prefix", "redis_prefix"),
    OldName("origins", "allowed_origins"),
    OldName("publish_window", "max_inflight_publishes"),
    OldName("presence_list", "presence_list_limit"),
    OldName("probe_interval", "probe_timeout"),
    OldName("lease", "worker_lease"),
    OldName("grace", "reconnect_grace"),
    OldName("replay_length", "history_size"),
    OldName("replay_age", "history_ttl"),
    OldName("admin_host", "admin_listen", folded=True),
    OldName("admin_port", "admin_listen", folded=True),
    OldName("presence_ttl", "room_state_ttl", folded=True),
    OldName("sequence_ttl", "room_state_ttl", folded=True),
    OldName("message_burst", now="a connection may send twice its message-rate at once"),
    OldName("publish_queue", now="a worker queues 1000 publishes while Redis is away"),
    OldName("drain_rate", now="a stopping worker closes 1000 connections a second, or more if time is short"),
)
"""Every old name, in the order of the settings that replace them; a gateway declares those of its own settings."""


def merge(name: str, texts: Mapping[str, str]) -> str:
    """Return the text for the setting `name`, made from the old settings that are set (name → text; at least one).

    A text that cannot be understood is passed on, so that the check of the new setting refuses it.
    """
    return _MERGES.get(name, _only)(texts)


def _only(texts: Mapping[str, str]) -> str:
    [text] = texts.values()
    return text


def _listen_address(texts: Mapping[str, str]) -> str:
    host, port = texts.get("admin_host", "127.0.0.1"), texts.get("admin_port", "0")
    if port and not port.strip("0"):  # port 0 meant "no admin port"; an empty text was refused, and still is
        return ""
    if not host:  # it meant every address
        host = "0.0.0.0"  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _longer(texts: Mapping[str, str]) -> str:
    times = [texts.get(name, _OLD_TTL) for name in ("presence_ttl", "sequence_ttl")]
    for text in times:
        try:
            if not math.isfinite(float(text)):
                return text
        except ValueError:
            return text
    return max(times, key=float)


_MERGES: Final[Mapping[str, Merge]] = {"admin_listen": _listen_address, "room_state_ttl": _longer}
