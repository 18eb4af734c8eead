"""The commands about the keys of one slot of a cluster: they keep their order, wherever the slot is and goes."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from relay.awake import AwakeTime
from relay.backend.headroom import Headroom
from relay.backend.redis.client import RedisClient
from relay.backend.redis.clock import RedisClock
from relay.backend.redis.cluster.redirects import Redirect, read_redirect
from relay.backend.redis.connection import Done, call, pack
from relay.backend.redis.place import RedisPlace, ignore
from relay.backend.redis.replies import ErrorReplies, report_of
from relay.model.errors import Unavailable

_RETRY: Final = 0.05
"""Seconds between two attempts while no node serves the slot."""

_MOST_HOPS: Final = 5
"""Redirections that follow each other without a pause; nodes that do not agree yet send a command to and fro."""

_ASKING: Final = pack("ASKING")


class Router(Protocol):
    """The parts of the cluster that a slot needs."""

    errors: ErrorReplies
    headroom: Headroom
    timeout: float
    awake: AwakeTime
    on_command: Callable[[], object]

    def client_of(self, slot: int) -> RedisClient | None:
        """Return the client of the node that has a slot, as far as is known."""
        ...

    def follow(self, redirect: Redirect, slot: int, asked: RedisClient | None) -> RedisClient | None:
        """Return the client of the node that a redirection names, and look for the new topology."""
        ...

    def may_hold(self, size: int) -> bool:
        """Count a command that is held, of so many bytes; False if too many are held already."""
        ...

    def released(self, size: int) -> None:
        """Count a command that is held no more."""
        ...


class _Held(NamedTuple):
    deadline: float
    command: bytes
    done: Done
    resent: bool = False
    late: bool = False


class _Pause:
    """The commands of a slot that is paused: those that came back, and those that came later.

    `asked` is the node that is to be asked for one command only, as the keys of the slot are on their way to it. A try
    is under way or due while it is `trying`; one at a time. While its callback has the reply, a command that is to be
    sent again waits in `again`.
    """

    def __init__(self) -> None:
        self.returned = deque[_Held]()
        self.later = deque[_Held]()
        self.again: deque[_Held] | None = None
        self.asked: RedisClient | None = None
        self.hops = 0
        self.trying = False
        self.reason = ""


class Slot(RedisPlace):
    """Sends commands to the node that has the slot; holds them while the slot moves, or has no node.

    A node that does not have the slot any more says so in each reply, so that a command which it has sent back must not
    be overtaken by later ones. The slot is *paused* from the first of these replies on. When all commands under way are
    answered, those that came back are sent again, one at a time, until one of them is served; then all others follow.
    A command is held for as long as it may wait for Redis, and then fails with `Unavailable`.
    """

    clustered = True
    fenced = True

    # A worker with many rooms has all 16,384: each is one small object, unless it is paused.
    __slots__ = ("_client", "_pause", "_router", "_unanswered", "answered_by", "number")

    def __init__(self, number: int, router: Router) -> None:
        self.number = number
        self._router = router
        self._client = router.client_of(number)
        self.answered_by: RedisClient | None = None
        """The client whose node has given the last reply."""
        self._unanswered = 0
        self._pause: _Pause | None = None

    # The Redis that has the slot.

    @property
    def errors(self) -> ErrorReplies:  # type: ignore[override]  # of the whole cluster
        """The errors of the cluster."""
        return self._router.errors

    @property
    def clock(self) -> RedisClock:
        """The clock of the node; one that knows nothing while there is none."""
        return RedisClock(time.monotonic, self._router.timeout) if self._client is None else self._client.clock

    @property
    def headroom(self) -> Headroom:
        """The memory that is left at the node."""
        return self._router.headroom if self._client is None else self._client.headroom

    @property
    def reachable(self) -> bool:
        """Whether commands reach the node, as far as is known."""
        return self._client is not None and self._client.reachable

    @property
    def era(self) -> int:
        """Since when the fleet knows the present run of the node."""
        return 0 if self._client is None else self._client.era

    @property
    def run_changes(self) -> int:
        """How often this worker has met another run of the node."""
        return 0 if self._client is None else self._client.run_changes

    @property
    def run_age(self) -> float:
        """Seconds since this worker met another run of the node."""
        return math.inf if self._client is None else self._client.run_age

    def check_run(self) -> None:
        """Ask the node for its run."""
        if self._client is not None:
            self._client.check_run()

    def bound_clock(self) -> None:
        """Ask the node for its time."""
        if self._client is not None:
            self._client.bound_clock()

    # Sending.

    def send(self, command: bytes, done: Done) -> None:
        """Send a command to the node, or hold it."""
        if self._pause is not None or self._client is None:
            pause = self._paused()
            self._hold(pause.later, command, done)
            self._try_soon(pause)
        else:
            self._unanswered += 1
            self._client.send(command, partial(self._replied, self._client, command, done))

    def make_way(self) -> None:
        """Have the publications of this turn sent ahead of the next command."""
        self._router.on_command()

    def resend(self, command: bytes, done: Done, *, late: bool = False) -> None:
        """Send a command that got NOSCRIPT again, after the scripts, or one that was `late`, after the node's time."""
        if self._pause is not None or self._client is None:
            pause = self._paused()
            queue = pause.returned if pause.again is None else pause.again
            self._hold(queue, command, done, resent=True, late=late)
            self._try_soon(pause)
        else:
            self._unanswered += 1
            self._client.resend(command, partial(self._replied, self._client, command, done), late=late)

    def move_to(self, client: RedisClient | None) -> None:
        """Go on at another node, once the present one has answered all that was sent to it."""
        if client is self._client:
            return
        self._client = client
        if self._pause is not None:
            self._pause.asked = None
        if self._unanswered:
            self._try_soon(self._paused())

    def _replied(self, client: RedisClient, command: bytes, done: Done, reply: Any) -> None:
        self._unanswered -= 1
        redirect = None if type(reply) is bytes else read_redirect(reply)
        try:
            if redirect is None:
                self.answered_by = client
                done(reply)
            else:
                pause = self._paused()
                self._hold(pause.returned, command, done)
                self._follow(pause, redirect)
        finally:
            if self._pause is not None:
                self._try_soon(self._pause)

    def _follow(self, pause: _Pause, redirect: Redirect) -> None:
        if redirect.text:
            pause.reason = report_of(redirect.text) if redirect.kind == "again" else redirect.text
        client = self._router.follow(redirect, self.number, self._client)
        if redirect.kind == "ask":
            pause.asked = client
        elif redirect.kind == "moved" and client is not None:
            self._client = client

    # While the slot is paused.

    def _paused(self) -> _Pause:
        pause = self._pause
        if pause is None:
            pause = self._pause = _Pause()
        return pause

    def _hold(
        self, queue: deque[_Held], command: bytes, done: Done, *, resent: bool = False, late: bool = False
    ) -> None:
        if self._router.may_hold(len(command)):
            deadline = self._router.awake.now + self._router.timeout
            queue.append(_Held(deadline, command, done, resent, late))
        else:
            text = "a part of the Redis cluster is away, and too many requests of this worker wait for it already"
            call(done, Unavailable(text))

    def _try_soon(self, pause: _Pause, delay: float = 0) -> None:
        # Not before all that is under way is answered: more may come back, which was sent earlier.
        if not pause.trying and not self._unanswered:
            pause.trying = True
            asyncio.get_running_loop().call_later(delay, self._try, pause)

    def _try(self, pause: _Pause) -> None:
        if pause is not self._pause:
            # It has ended meanwhile, and all that it held was sent: the callback of a reply had sent something at once.
            return
        self._expire(pause)
        pause.trying = False
        if not pause.returned and not pause.later:
            self._pause = None
            return
        client = pause.asked or self._client
        if client is None:
            self._follow(pause, Redirect("moved"))
            self._try_soon(pause, _RETRY)
            return
        pause.trying = True
        held = (pause.returned or pause.later).popleft()
        tried = partial(self._tried, client, pause, held)
        if pause.asked is not None:
            # Nothing may come between the two.
            client.send(_ASKING, ignore)
            client.send(held.command, tried)
        elif held.resent:
            client.resend(held.command, tried, late=held.late)
        else:
            client.send(held.command, tried)

    def _tried(self, client: RedisClient, pause: _Pause, held: _Held, reply: Any) -> None:
        pause.trying = False
        asked, pause.asked = pause.asked, None
        redirect = read_redirect(reply)
        if redirect is None:
            pause.hops = 0
            self._router.released(len(held.command))
            self.answered_by = client
            pause.again = deque()
            call(held.done, reply)
            # Ahead of the others, which were sent after it.
            pause.returned.extendleft(reversed(pause.again))
            pause.again = None
            if asked is None:
                self._resume(pause)
            else:
                self._try_soon(pause)
            return
        pause.returned.appendleft(held)
        pause.hops += 1
        try:
            self._follow(pause, redirect)
        finally:
            # Also after a redirection that cannot be followed: only a try gives those up whose time is over.
            self._try_soon(pause, _RETRY if redirect.kind == "again" or pause.hops > _MOST_HOPS else 0)

    def _resume(self, pause: _Pause) -> None:
        """Send all that is held, in order: the node serves the slot."""
        self._pause = None
        for held in (*pause.returned, *pause.later):
            self._router.released(len(held.command))
            if held.resent:
                self.resend(held.command, held.done, late=held.late)
            else:
                self.send(held.command, held.done)

    def _expire(self, pause: _Pause) -> None:
        now = self._router.awake.now
        for queue in (pause.returned, pause.later):
            while queue and queue[0].deadline <= now:
                held = queue.popleft()
                self._router.released(len(held.command))
                text = f"no node of the Redis cluster has served this room for {self._router.timeout:g} s"
                call(held.done, Unavailable(text).because(f"{text}: {pause.reason}" if pause.reason else text))
