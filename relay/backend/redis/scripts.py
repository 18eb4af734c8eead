"""The Lua scripts of the package, each an atomic step on one room or on the leases."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


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
    return _of(parts[-1], "".join(map(_read, parts)))


def _of(name: str, source: str) -> Script:
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _sharded(script: Script) -> Script:
    """Replace the command by which a script publishes, in this one place for all scripts."""
    return _of(script.name, script.source.replace("'PUBLISH'", "'SPUBLISH'"))


_OF_MEMBERS = ("shared", "places", "outbox", "rules")
"""The parts ahead of the scripts that add and remove members, or may."""

PUBLISH = _script("shared", "publish_slow", "publish")
PUBLISH_TOGETHER = _script("publish_together_fast", "shared", "publish_slow", "publish_together")
JOIN = _script(*_OF_MEMBERS, "attempts", "join")
ANNOUNCE = _script(*_OF_MEMBERS, "attempts", "announce")
CHANGE = _script("shared", "change")
LEAVE = _script(*_OF_MEMBERS, "attempts", "leave")
GOVERN = _script(*_OF_MEMBERS, "govern")
KICK = _script(*_OF_MEMBERS, "kick")
CLOSE = _script(*_OF_MEMBERS, "close")
MOVE = _script(*_OF_MEMBERS, "move")
ADOPT = _script("shared", "adopt")
ROSTER = _script("shared", "roster")
REPLAY = _script("shared", "replay")
NOTE = _script("note")
CHANNEL = _script("channel")
WAIT = _script("wait")
WAITING = _script("waiting")
WAIT_OVER = _script("wait_over")
TURN_OVER = _script("turn_over")
TREE_READ = _script("shared", "tree", "tree_read")
TREE_WRITE = _script("shared", "tree", "tree_write")
TREE_PREPARE = _script("shared", "tree", "tree_prepare")
TREE_FINISH = _script("shared", "tree", "tree_finish")
BROADCAST = _script("broadcast")
REGISTER = _script("register")
HEARTBEAT = _script("heartbeat")
FLEET_KEY = _script("fleet_key")
RUN = _script("run")
MEMORY = _script("memory")
OUTBOX_DONE = _script("outbox_done")
HOOK_ADD = _script("hook_add")
HOOK_TAKE = _script("hook_take")

ALL = (
    PUBLISH,
    PUBLISH_TOGETHER,
    JOIN,
    ANNOUNCE,
    CHANGE,
    LEAVE,
    GOVERN,
    KICK,
    CLOSE,
    MOVE,
    ADOPT,
    ROSTER,
    REPLAY,
    NOTE,
    CHANNEL,
    WAIT,
    WAITING,
    WAIT_OVER,
    TURN_OVER,
    TREE_READ,
    TREE_WRITE,
    TREE_PREPARE,
    TREE_FINISH,
    BROADCAST,
    REGISTER,
    HEARTBEAT,
    FLEET_KEY,
    RUN,
    MEMORY,
    OUTBOX_DONE,
    HOOK_ADD,
    HOOK_TAKE,
)


_ON_CLUSTER: Final = {script.sha: _sharded(script) for script in ALL}


def sharded(script: Script) -> Script:
    """Return the script for a Redis Cluster: it publishes on Redis channels that, like its keys, are of one slot."""
    return _ON_CLUSTER[script.sha]


_FENCE: Final = _read("fence")

_FENCED: Final = {
    one.sha: _of(one.name, _FENCE + one.source)
    for script in ALL
    for one in (script, sharded(script))
    if "PUBLISH'" in one.source
}


def has_fence(script: Script) -> bool:
    """Whether a script publishes events of rooms: where another Redis may take the part of this one, it has a fence."""
    return script.sha in _FENCED


def with_fence(script: Script) -> Script:
    """Return the script for a Redis whose part another one may take."""
    return _FENCED.get(script.sha, script)


def variant(script: Script, *, clustered: bool, fenced: bool) -> Script:
    """Return the script as a Redis has it: for a cluster, and for one whose part another one may take."""
    script = sharded(script) if clustered else script
    return with_fence(script) if fenced else script


def milliseconds(seconds: float) -> int:
    """Return a time as the scripts take it, and the commands of Redis that set a time to live."""
    return round(seconds * 1000)
