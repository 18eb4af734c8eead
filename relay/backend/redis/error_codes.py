"""The codes of Redis's error replies: the meaning of each, the relay's reaction, and the remedy of an operator.

An error reply with one of these codes refuses a command, or a script, that has not had any effect. `code_of` finds the
code in a reply of any version: Redis 6.2 puts the errors of commands in scripts into a text of its own, and has no code
for some that others have one for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code: its `meaning`, and an operator's `remedy`.

    With `leaves`, the relay connects anew: another Redis may be the master by now, or accept the login. Else it keeps
    the connection, and the next command is the next attempt. With `in_scripts`, Redis raises it inside a script as
    well, but only ahead of all effects; all others come before a script begins.
    """

    meaning: str
    remedy: str
    leaves: bool = False
    in_scripts: bool = False


_REPLICA: Final = "let redis-url name the master, or the sentinels that know it; after a failover, nothing"
_LOGIN: Final = "correct the user and the password, in redis-url or redis-password"
_CLUSTER: Final = "let redis-url begin with redis+cluster://"

_NO_CLUSTER: Final = "ERR This instance has cluster support disabled"
_OLD_CLUSTER: Final = "ERR Unknown subcommand"
_NO_COMMAND: Final = "ERR unknown command 'CLUSTER'"

ERROR_CODES: Final[Mapping[str, ErrorCode]] = {
    "READONLY": ErrorCode("this Redis is a replica, which takes no writes", _REPLICA, leaves=True, in_scripts=True),
    "UNBLOCKED": ErrorCode("this Redis has become a replica", _REPLICA, leaves=True),
    "MASTERDOWN": ErrorCode(
        "this Redis is a replica that has lost its master",
        "bring its master back, or have a replica take over; let redis-url name the master",
        leaves=True,
        # Whether the replica is stale does not change while a script runs, and shows at its first command.
        in_scripts=True,
    ),
    "LOADING": ErrorCode("Redis is still loading its data", "wait; the log of Redis has the progress", leaves=True),
    "NOAUTH": ErrorCode("Redis asks for a password", _LOGIN, leaves=True),
    "WRONGPASS": ErrorCode("Redis does not accept the user or the password", _LOGIN, leaves=True),
    "NOPERM": ErrorCode(
        "the Redis user lacks a permission", "give the user the commands, keys and channels that the relay's docs list"
    ),
    # At the first write of a script alone: Redis accepts that a later one exceeds the limit, as it could not undo the
    # earlier ones.
    "OOM": ErrorCode("Redis has no memory left", "raise its maxmemory, or find its largest users", in_scripts=True),
    "MISCONF": ErrorCode(
        "Redis cannot save to its disk, and takes no writes",
        "free or repair its disk; the log of Redis has the cause",
        in_scripts=True,
    ),
    "NOREPLICAS": ErrorCode(
        "Redis has too few replicas, and takes no writes",
        "start its replicas, or lower its min-replicas-to-write; after a failover, nothing",
        in_scripts=True,
    ),
    "BUSY": ErrorCode("Redis is busy with a script", "find the program that runs it; SCRIPT KILL ends the script"),
    "NOSCRIPT": ErrorCode("Redis does not keep the relay's scripts", "find the program that sends SCRIPT FLUSH"),
    "DENIED": ErrorCode("this Redis is in protected mode", "give it a password, or let it listen to the relay alone"),
    "MOVED": ErrorCode("this Redis is a part of a cluster", _CLUSTER),
    "ASK": ErrorCode("this Redis is a part of a cluster", _CLUSTER),
    "CROSSSLOT": ErrorCode("this Redis is a part of a cluster", _CLUSTER),
    "TRYAGAIN": ErrorCode("the Redis cluster is moving these keys", "wait until it has moved them"),
    "CLUSTERDOWN": ErrorCode("the Redis cluster is down", "bring back the masters that its slots lack"),
    _NO_CLUSTER: ErrorCode("this Redis is no part of a cluster", "let redis-url begin with redis://"),
    _OLD_CLUSTER: ErrorCode(
        "this Redis Cluster is older than 7.0, and has no sharded Redis channels",
        "update it to Redis 7.0 or newer, or to Valkey",
    ),
    _NO_COMMAND: ErrorCode(
        "this is no node of a Redis Cluster; a sentinel answers so",
        "let redis-url name nodes of the cluster, or begin with redis+sentinel:// for sentinels",
    ),
}
"""By the word at the beginning of the reply, or the beginning itself where Redis has no word for it."""

_BEGINNINGS: Final[Mapping[str, str]] = {
    "ERR The user executing the script can't": "NOPERM",
    "ERR ACL failure in script": "NOPERM",
    _NO_CLUSTER: _NO_CLUSTER,
    _OLD_CLUSTER: _OLD_CLUSTER,
    _NO_COMMAND: _NO_COMMAND,
}
"""The codes of errors that begin with ERR, by their beginning: of those that scripts get, and others without a code."""

_IN_SCRIPT: Final = " script: "
"""Part of the text of each error that was raised inside a script, ahead of the script's hash."""

_IN_SCRIPT_OF_6: Final = re.compile(
    r"ERR Error running script \(call to f_[0-9a-f]+\): @user_script:[0-9]+: (?:@user_script: [0-9]+: (-?))?"
)
"""The beginning of such an error in Redis 6.2; what follows has a code if there is a hyphen ahead of it."""


def code_of(text: str) -> str:
    """Return the code at the beginning of an error reply, or the one that its text stands for."""
    if found := _IN_SCRIPT_OF_6.match(text):
        rest = text[found.end() :]
        text = rest if found[1] else f"ERR {rest}"
    beginning = next((one for one in _BEGINNINGS if text.startswith(one)), None)
    return text.partition(" ")[0] if beginning is None else _BEGINNINGS[beginning]


def is_of_script(text: str) -> bool:
    """Tell whether an error was raised inside a script, which may have had an effect before."""
    return _IN_SCRIPT in text or _IN_SCRIPT_OF_6.match(text) is not None
