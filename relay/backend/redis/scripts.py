"""The Lua scripts of the package, each an atomic step on one room or on the leases."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source, and the SHA-1 hash by which Redis runs a script that it has loaded."""

    name: str
    source: str
    sha: str


def _read(name: str) -> str:
    return (files("relay.backend.redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _script(*parts: str) -> Script:
    """Join the parts to one script, which has the name of the last one."""
    source = "".join(map(_read, parts))
    return Script(parts[-1], source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


PUBLISH = _script("publish_fast", "shared", "publish")
JOIN = _script("shared", "join")
ANNOUNCE = _script("shared", "announce")
CHANGE = _script("shared", "change")
LEAVE = _script("shared", "leave")
ADOPT = _script("shared", "adopt")
ROSTER = _script("shared", "roster")
REPLAY = _script("shared", "replay")
NOTE = _script("note")
HEARTBEAT = _script("heartbeat")
FLEET_KEY = _script("fleet_key")
RUN = _script("run")

ALL = (PUBLISH, JOIN, ANNOUNCE, CHANGE, LEAVE, ADOPT, ROSTER, REPLAY, NOTE, HEARTBEAT, FLEET_KEY, RUN)


def milliseconds(seconds: float) -> int:
    """Return a time as the scripts take it, and the commands of Redis that set a time to live."""
    return round(seconds * 1000)
