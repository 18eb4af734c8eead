"""The state of the gateway on one worker."""

from typing import Final

from starlette.types import Scope

from relay.gateways.base.http_sessions import HttpSession, HttpSessions
from relay.gateways.base.recent_ids import RecentIds, RecentValues
from relay.gateways.signalr.connection_token import FRESH, HubTokens
from relay.gateways.signalr.polled import PING, LostHub
from relay.gateways.signalr.returning import LostPlaces
from relay.gateways.signalr.session import SocketHub
from relay.model.codec import Frame
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.worker import Worker

STATE: Final = "signalr"

_MOST_USED: Final = 50_000
"""Tokens that are remembered because their connection was opened; each is, for as long as it may be fresh."""


_LATE: Final = 30.0
"""Seconds in which the goodbye of a client that has dropped its stream or poll may arrive."""

_MOST_LOST: Final = 10_000


class SignalRState:
    """The connections of one worker, by their session ids: those that poll or stream, and those with a WebSocket.

    `lost` has clients of the former that are held.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.polled: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        self.tokens = HubTokens(worker.fleet_key, worker.session_ids)
        interval = min(PING, worker.settings.ping_interval)
        self._keepalive = Keepalive(KeepaliveTiming(interval, interval, interval))
        self._sockets: dict[str, SocketHub] = {}
        self.lost: RecentValues[LostHub] = RecentValues(worker.clock, seconds=_LATE, most=_MOST_LOST)
        self.lost_places = LostPlaces(worker)
        self._used = RecentIds(worker.clock, seconds=2 * FRESH / 1000, most=_MOST_USED)

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self.polled) + len(self._sockets)

    def has(self, session: str) -> bool:
        """Return whether a connection is open."""
        return session in self._sockets or self.polled.get(session) is not None

    def is_used(self, session: str) -> bool:
        """Return whether the connection of a token was opened."""
        return session in self._used

    def use(self, session: str) -> bool:
        """Note that the connection of a token is being opened; False if it was before: a token opens one connection."""
        return self._used.add(session)

    def add(self, socket: SocketHub) -> None:
        """Register a connection with a WebSocket."""
        self._sockets[socket.id] = socket
        self._keepalive.add(socket)

    def remove(self, socket: SocketHub) -> None:
        """Forget a connection with a WebSocket."""
        if self._sockets.get(socket.id) is socket:
            del self._sockets[socket.id]
        self._keepalive.remove(socket)


def state_of(scope: Scope) -> SignalRState:
    """Return the state of the worker that serves a request."""
    state: SignalRState = scope["state"][STATE]
    return state
