"""A Redis, as its callers see it: one server, or the part of a cluster that has a key."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from relay.backend.headroom import Headroom
from relay.backend.redis.clock import RedisClock
from relay.backend.redis.connection import Argument, Done, pack
from relay.backend.redis.fence import GIVEN_UP, Fenced, fenced, unfenced
from relay.backend.redis.replies import ErrorReplies, is_noscript
from relay.backend.redis.scripts import Script, has_fence, variant
from relay.model.errors import RelayError

_MOST_ATTEMPTS: Final = 4
"""How often a script call is sent that Redis does not execute: scripts may be lost, and a call be late, in turn."""


def ignore(reply: Any) -> None:
    """Ignore a reply: if the command failed, a later one fails as well."""


class Redis(Protocol):
    """All keys of a fleet: one server, or the nodes of a cluster, among which the key of each call decides.

    On a cluster, the keys of one call are of one slot. `clock` is one that all workers share; the times of a room, and
    of leases, are those of the Redis that has them.
    """

    clustered: bool
    """Whether Redis is a cluster: then scripts publish on sharded Redis channels."""
    fenced: bool
    """Whether another Redis may take the part of this one: then scripts that publish events have a fence."""
    on_command: Callable[[], object]
    """Called before each command but those of publications, which may wait for company until their turn ends."""

    @property
    def clock(self) -> RedisClock:
        """The clock."""
        ...

    @property
    def headroom(self) -> Headroom:
        """The memory that is left, at the node that has least; `level_of` has the level of each room."""
        ...

    @property
    def reachable(self) -> bool:
        """Whether commands reach all of Redis, as far as is known."""
        ...

    @property
    def report(self) -> str:
        """Why some of Redis is not reachable, with its own words, for operators; "" if all is."""
        ...

    def flush(self) -> None:
        """Write all commands that were sent in this turn of the event loop now, and not at its end."""
        ...

    def at_key(self, key: str) -> "RedisPlace":
        """Return the place of a key."""
        ...

    def at_room(self, room: str) -> "RedisPlace":
        """Return the place of all keys and Redis channels of a room."""
        ...

    def tell(self, *arguments: Argument, done: Done = ignore) -> None:
        """Send one command about the key that follows its name; by default, the reply is ignored."""
        ...

    def call(self, *arguments: Argument) -> asyncio.Future[Any]:
        """Send one command about the key that follows its name; the future gets its reply, or the error."""
        ...

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> asyncio.Future[Any]:
        """Run a script; the future gets its result, or the error."""
        ...

    def send_script(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], done: Done) -> None:
        """Run a script; `done` is called once, with the reply or an error."""
        ...

    def script_error(self, reply: Any) -> RelayError:
        """Return the error for a reply that is not a result of the script: an error reply, or an unexpected value."""
        ...


class RedisPlace(ABC):
    """Takes commands and scripts, and sends them in the order of the calls.

    `clock` and `headroom` are those of the Redis that has the key now.
    """

    __slots__ = ()

    clustered: bool
    """Whether it is a part of a cluster: then scripts publish on sharded Redis channels."""
    fenced: bool
    """Whether another Redis may take the part of this one: then scripts that publish events have a fence."""
    errors: ErrorReplies

    @property
    @abstractmethod
    def clock(self) -> RedisClock:
        """The clock."""

    @property
    @abstractmethod
    def headroom(self) -> Headroom:
        """The memory that is left."""

    @abstractmethod
    def send(self, command: bytes, done: Done) -> None:
        """Send one packed command; `done` is called once, with the reply or an error, perhaps before this returns."""

    @abstractmethod
    def make_way(self) -> None:
        """Have the publications of this turn sent: the next command must not overtake them."""

    @abstractmethod
    def resend(self, command: bytes, done: Done, *, late: bool = False) -> None:
        """Send a command that got NOSCRIPT again, after the scripts and before all later commands.

        One that came too `late` for its fence is sent again once the time of Redis is known anew.
        """

    @property
    @abstractmethod
    def reachable(self) -> bool:
        """Whether commands reach Redis, as far as is known."""

    @property
    @abstractmethod
    def era(self) -> int:
        """Since when the fleet knows the present run of Redis (microseconds); 0 if no earlier one is known."""

    @property
    @abstractmethod
    def run_changes(self) -> int:
        """How often another run of Redis took the part of the one before, as far as this worker has noticed."""

    @property
    @abstractmethod
    def run_age(self) -> float:
        """Seconds since this worker met another run of Redis; infinite if it has not."""

    @abstractmethod
    def check_run(self) -> None:
        """Ask for the run of Redis again: it may change without a lost connection, when a replica takes over."""

    @abstractmethod
    def bound_clock(self) -> None:
        """Ask Redis for its time, for the stamps of attempts."""

    def send_script(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], done: Done) -> None:
        """Run a script, as `send` does; if Redis does not have it any more, it is loaded again."""
        is_fenced = self.fenced and has_fence(script)
        sha = variant(script, clustered=self.clustered, fenced=self.fenced).sha
        whole = pack("EVALSHA", sha, len(keys), *keys, *arguments)
        command = fenced(whole) if is_fenced else whole
        self.make_way()
        self.send(command, partial(_take, self, command, done))

    def tell(self, *arguments: Argument, done: Done = ignore) -> None:
        """Send one command; by default, the reply is ignored."""
        self.make_way()
        self.send(pack(*arguments), done)

    def call(self, *arguments: Argument) -> asyncio.Future[Any]:
        """Send one command; the future gets its reply, or the error."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.make_way()
        self.send(pack(*arguments), partial(self._resolve, future, False))
        return future

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> asyncio.Future[Any]:
        """Run a script; the future gets its result, or the error."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send_script(script, keys, arguments, partial(self._resolve, future, True))
        return future

    def script_error(self, reply: Any) -> RelayError:
        """Return the error for a reply that is not a result of the script: an error reply, or an unexpected value."""
        return self.errors.error_of(reply, script=True) or self.errors.unexpected(reply)

    def _resolve(self, future: asyncio.Future[Any], script: bool, reply: Any) -> None:
        if future.done():
            return
        error = self.errors.error_of(reply, script=script)
        if error is None:
            future.set_result(reply)
        else:
            future.set_exception(error)


def _take(place: RedisPlace, command: bytes, done: Done, reply: Any) -> None:
    """Take the reply to a script call; one that was not executed is sent again."""
    if not_executed(command, reply):
        send_again(place, command, done, reply)
    else:
        done(reply)


def not_executed(command: bytes, reply: Any) -> bool:
    """Return whether Redis has not executed a script call: it has no such script, or has taken the call too late."""
    return is_noscript(reply) or (type(command) is Fenced and reply == GIVEN_UP)


def send_again(place: RedisPlace, command: bytes, done: Done, reply: Any, *, left: int = _MOST_ATTEMPTS - 2) -> None:
    """Send a call again that was not executed, as `reply` says; and once more, up to `left` times, if it is not again.

    `done` gets the reply of the last attempt. A late call goes without a fence: it is not late again.
    """
    late = type(command) is Fenced and reply == GIVEN_UP
    again = unfenced(command) if late else command

    def check(reply: Any) -> None:
        if left and not_executed(again, reply):
            send_again(place, again, done, reply, left=left - 1)
        else:
            done(reply)

    place.resend(again, check, late=late)
