"""The sessions of Firebase clients on one worker, by their ids, which are secret."""

from typing import Final

from starlette.types import Scope

from relay.gateways.base.http_sessions import HttpSessions
from relay.gateways.firebase.http_session import FirebaseHttpSession
from relay.gateways.firebase.session import FirebaseSession
from relay.gateways.firebase.sockets import FirebaseSocketSession
from relay.logs import LogIntervals
from relay.rooms.worker import Worker

STATE: Final = "firebase"
"""The key under which `scope["state"]` has the sessions."""


_LOG_INTERVAL: Final = 10.0


class FirebaseState:
    """The sessions of one worker: those with a WebSocket, and those over HTTP."""

    def __init__(self, worker: Worker) -> None:
        self.http: HttpSessions[FirebaseHttpSession] = HttpSessions(worker)
        self.sockets: dict[str, FirebaseSocketSession] = {}
        # Lines about last sessions of clients that could not be ended.
        self.unended = LogIntervals(_LOG_INTERVAL)

    def find(self, session_id: str) -> FirebaseSession | None:
        """Return the session with this id; None if it is not on this worker."""
        return self.sockets.get(session_id) or self.http.get(session_id)


def state_of(scope: Scope) -> FirebaseState:
    """Return the sessions of the worker that serves a request."""
    state: FirebaseState = scope["state"][STATE]
    return state
