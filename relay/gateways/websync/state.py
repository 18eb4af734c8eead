"""The state of the gateway on one worker."""

from typing import Final

from starlette.types import Scope

from relay.gateways.base.http_sessions import HttpSession, HttpSessions
from relay.gateways.base.post_rates import PostRates
from relay.gateways.websync.ended import EndedSessions
from relay.model.codec import Frame
from relay.rooms.worker import Worker

STATE: Final = "websync"


class WebSyncState:
    """The sessions of clients, those that have ended for good, and the rates of posts."""

    def __init__(self, worker: Worker) -> None:
        self.sessions: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        self.ends = EndedSessions()
        self.rates = PostRates(worker.admissions)


def state_of(scope: Scope) -> WebSyncState:
    """Return the state of the worker that serves a request."""
    state: WebSyncState = scope["state"][STATE]
    return state
