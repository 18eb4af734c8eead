"""The Lua scripts, read from the package once; each is one atomic step on one room or on the leases."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source and the SHA-1 by which Redis knows it."""

    name: str
    source: str
    sha: str


def _read(name: str) -> str:
    return (files("relay.backend.redis") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str, *before: str) -> Script:
    source = "".join(_read(part) for part in (*before, name))
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


PUBLISH = _script("publish", "standing", "prelude")
JOIN = _script("join", "prelude")
ANNOUNCE = _script("announce", "prelude")
LEAVE = _script("leave", "prelude")
ADOPT = _script("adopt", "prelude")
ROSTER = _script("roster", "prelude")
REPLAY = _script("replay", "prelude")
BEAT = _script("beat")

ALL = (PUBLISH, JOIN, ANNOUNCE, LEAVE, ADOPT, ROSTER, REPLAY, BEAT)
