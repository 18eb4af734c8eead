"""Brings a page that has connected again back into its room, unasked."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.places import PlaceKey
from relay.gateways.socketio.apps.rmc3.stay import TAKEN, Stay
from relay.model.errors import OutcomeUnknown, Refused, Unavailable
from relay.model.events import Welcome

_MOST_PLACES: Final = 4
_PAUSE: Final = 1.0
"""Seconds between two attempts while the place is still that of a connection which may be dead, or Redis is away."""

_LOST_RECORDS: Final = 10.0
"""Seconds for which a page with a private id looks for its place after Redis may have lost its records."""

_MARGIN: Final = 5.0
"""Seconds beyond the time after which every dead connection is noticed."""


class Outcome(Enum):
    """The outcome of an attempt to come back.

    DECIDED: the page is in its room, or there is none. BUSY: another connection has its place, which may be dead.
    UNKNOWN: Redis does not know of a place, or does not answer, and may do so in a moment.
    """

    DECIDED = auto()
    BUSY = auto()
    UNKNOWN = auto()


class OnAttempt(Protocol):
    """Called when an attempt begins, and when it is over."""

    def __call__(self, *, returning: bool) -> None:
        """Take note that the page gets the events that it has missed, from now on or not any more."""
        ...


class Returning:
    """Tries to take a client's place back, as long as an earlier connection of it may be dead and not known to be so.

    `on_attempt` is called around each attempt, `on_returned` in the room, `on_given_up` if the client does not come
    back, and then `on_taken` if another client is there.
    """

    __slots__ = (
        "_attempting",
        "_is_decided",
        "_key",
        "_on_attempt",
        "_on_given_up",
        "_on_returned",
        "_on_taken",
        "_port",
        "_stay",
        "_stopped",
    )

    def __init__(
        self,
        port: ClientPort,
        key: PlaceKey,
        stay: Stay,
        *,
        on_returned: Callable[[Welcome], None],
        on_taken: Callable[[], None],
        on_given_up: Callable[[], None],
        on_attempt: OnAttempt,
    ) -> None:
        self._port = port
        self._key = key
        self._stay = stay
        self._on_returned = on_returned
        self._on_taken = on_taken
        self._on_given_up = on_given_up
        self._on_attempt = on_attempt
        self._stopped = self._is_decided = False
        self._attempting = asyncio.Lock()

    @property
    def is_undecided(self) -> bool:
        """Whether the client may still come back into its room."""
        return not (self._stopped or self._is_decided)

    def stop(self) -> None:
        """Try no more: the client has gone."""
        self._stopped = True

    async def finish(self) -> None:
        """Try no more: the client has asked for a room; returns when no attempt is on its way."""
        self._stopped = True
        async with self._attempting:
            self._give_up()

    def _give_up(self) -> None:
        if not self._is_decided:
            self._is_decided = True
            self._on_given_up()

    async def begin(self) -> None:
        """Try once; if it is not decided then, go on beside the events of the client."""
        outcome = await self._attempt()
        if outcome is Outcome.DECIDED:
            self._give_up()
        else:
            self._port.socket.spawn(self._go_on(outcome))

    async def _go_on(self, outcome: "Outcome") -> None:
        """Try again until it is decided: a dead connection is noticed in the end, and lost records are written anew."""
        settings, clock = self._port.worker.settings, self._port.worker.clock
        began, silence = clock(), settings.ping_interval + settings.ping_timeout + _MARGIN
        while clock() < began + (silence if outcome is Outcome.BUSY else _LOST_RECORDS):
            await asyncio.sleep(_PAUSE)
            if self._stopped:
                return
            outcome = await self._attempt()
            if outcome is Outcome.DECIDED:
                break
        self._give_up()
        if outcome is Outcome.BUSY:
            self._on_taken()

    async def _attempt(self) -> "Outcome":
        async with self._attempting:
            return Outcome.DECIDED if self._stopped else await self._try_places()

    async def _try_places(self) -> "Outcome":
        try:
            places = await self._port.worker.places.find(self._key.name, _MOST_PLACES)
            for room, peer in places:
                if self._stopped or await self._take(room, peer):
                    return Outcome.DECIDED
        except (Unavailable, OutcomeUnknown):
            return Outcome.UNKNOWN
        except Refused as error:
            return Outcome.BUSY if error.code in TAKEN else Outcome.DECIDED
        # A page that was connected before, but maybe in no room; or Redis has lost its record.
        return Outcome.UNKNOWN if self._key.proven else Outcome.DECIDED

    async def _take(self, room: str, peer: str) -> bool:
        self._on_attempt(returning=True)
        try:
            welcome = await self._stay.resume(room, peer)
        except Refused as error:
            if error.code == "not_joined":
                return False
            raise
        finally:
            self._on_attempt(returning=False)
        self._is_decided = True
        self._on_returned(welcome)
        return True
