"""Calls of join.lua: those of one turn of the event loop share the registration of their rooms."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from relay.backend.headroom import Level
from relay.backend.presence import JoinAttempt, LeaseName
from relay.backend.redis import infos
from relay.backend.redis.connection import Argument
from relay.backend.redis.keys import Keys
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.place import Redis
from relay.backend.redis.registration import RoomRegistrar
from relay.backend.redis.scripts import JOIN, milliseconds
from relay.backend.redis.tags import TagOf
from relay.backend.settings import RoomSettings

_NONE = "-"
"""The argument of a script that stands for no fingerprint."""

_OPENS = {None: "", True: "open", False: "enter"}
"""Whether an attempt opens rooms or enters existing ones, as join.lua takes it."""

CONFIRMATION = 2.0
"""Seconds after Redis came back in which workers confirm rooms: a worker connects again within about a second."""

NOT_SENT = [b"unsent"]
"""The reply to a call that was not sent: it is to be made again. It is no result of join.lua."""


class JoinCall:
    """A call of join.lua for an attempt; `lease` is the one under which it was sent, and `reply` gets the result.

    `wait` is for how long after Redis came back join.lua leaves an unconfirmed state alone (ms).
    """

    __slots__ = ("attempt", "lease", "reply", "wait")

    def __init__(self, attempt: JoinAttempt, wait: int, reply: asyncio.Future[Any]) -> None:
        self.attempt = attempt
        self.wait = wait
        self.lease = ""
        self.reply = reply


class JoinCalls:
    """Makes the calls of one turn of the event loop at its end, behind one registration of all their rooms.

    Thousands of clients may come at once; each registration is two or three commands. A call that is cancelled before
    is not made.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        lease: LeaseName,
        settings: RoomSettings,
        registration: RoomRegistrar,
        tag_of: TagOf,
        outboxes: RedisOutboxes,
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._settings = settings
        self._state_ttl = milliseconds(settings.state_ttl)
        self._history = f"{settings.history.size} {milliseconds(settings.history.ttl)}"
        self._registration = registration
        self._tag_of = tag_of
        self._outboxes = outboxes
        self._calls: list[JoinCall] = []
        # Known from the first call on: each question for the running loop is a system call (`getpid`).
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, attempt: JoinAttempt, wait: int) -> JoinCall:
        """Make a call at the end of this turn."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        call = JoinCall(attempt, wait, loop.create_future())
        self._outboxes.watch(attempt.room, call.reply, lambda reply: reply[0] == b"joined")
        if not self._calls:
            loop.call_soon(self.send)
        self._calls.append(call)
        return call

    def send(self) -> None:
        """Make the calls of this turn now, so that they are ahead of what follows."""
        if not self._calls:
            return
        calls, self._calls = [call for call in self._calls if not call.reply.done()], []
        ready = []
        for call in calls:
            if self._client.at_room(call.attempt.room).reachable:
                ready.append(call)
            else:
                # The connection was lost in this turn. The next one may lead to another run of Redis.
                call.reply.set_result(NOT_SENT)
        if ready:
            self._make(ready)
            # In this turn, and not in the next one, for which the connection has planned its write.
            self._client.flush()

    def _make(self, calls: Sequence[JoinCall]) -> None:
        """Register the rooms of these calls, and make them; a call gets the error that keeps it from being made."""
        try:
            # Many clients may come to one room in a turn.
            self._registration.register(list(dict.fromkeys(call.attempt.room for call in calls)))
        except Exception as error:
            for call in calls:
                _fail(call, error)
            return
        for call in calls:
            try:
                self._run(call)
            except Exception as error:
                _fail(call, error)

    def _run(self, call: JoinCall) -> None:
        attempt, room = call.attempt, call.attempt.room
        place, call.lease = self._client.at_room(room), str(self._lease)
        keys, hook = self._outboxes.extend(room, self._keys_of(attempt), attempt.token_subject)
        arguments: list[Argument] = [
            self._keys.channel(room),
            attempt.peer,
            call.lease,
            attempt.offered or _NONE,
            attempt.fresh or _NONE,
            # A room with a limit of 0 members still accepts clients that resume.
            0 if attempt.resume_only else self._settings.members,
            self._state_ttl,
            self._state_ttl,
            self._settings.roster if attempt.roster else 0,
            self._settings.roster_bytes,
            self._history,
            *attempt.seen,
            infos.pack(attempt.info),
            self._registration.deadline_of(room),
            attempt.stamp,
            int(attempt.insists),
            attempt.derived or attempt.fresh or _NONE,
            place.era,
            call.wait,
            # As text: a client may send any number.
            *map(str, attempt.since),
            self._tag_of(room, attempt.address),
            self._settings.places,
            self._bar(room, attempt.barred),
            attempt.known,
            attempt.password,
            attempt.subject,
            attempt.opening,
            int(self._settings.owners),
            self._keys.guards(room),
            int(bool(call.wait) and place.run_age < CONFIRMATION),
            hook,
            _OPENS[attempt.opens],
            attempt.attributes,
            attempt.renamed.peer,
            attempt.renamed.generation,
        ]
        self._client.send_script(JOIN, keys, arguments, partial(self._resolve, call.reply))

    def _resolve(self, future: asyncio.Future[Any], reply: Any) -> None:
        if future.done():
            return
        if isinstance(reply, list):
            future.set_result(reply)
        else:
            future.set_exception(self._client.script_error(reply))

    def _keys_of(self, attempt: JoinAttempt) -> tuple[str, ...]:
        keys, room = self._keys, attempt.room
        subjects = (keys.subjects(room),) if attempt.subject else ()
        return (*keys.of_room(room), keys.places(room), keys.waiting(room), keys.watched(room), *subjects)

    def _bar(self, room: str, barred: str) -> str:
        """Return the barred joins, as join.lua takes them."""
        if self._client.headroom.level_of(room) is Level.FULL:
            return "member"
        return "closed" if barred == "no_such_room" else "room" if barred else ""


def _fail(call: JoinCall, error: Exception) -> None:
    # A call that has its reply already must not keep the others from theirs.
    if not call.reply.done():
        call.reply.set_exception(error)
