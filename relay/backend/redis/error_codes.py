"""The codes of Redis's error replies: the meaning of each, the relay's reaction, and the remedy of an operator.

An error reply with one of these codes refuses a command, or a script, that has not had any effect.
"""

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
}
