"""The state of the gateway on one worker."""

from typing import Final

from starlette.types import Scope

from relay.gateways.base.http_sessions import HttpSession, HttpSessions
from relay.gateways.base.post_rates import PostRates
from relay.gateways.xhrsignaling.places import SharedPlaces
from relay.model.codec import Frame
from relay.rooms.worker import Worker

STATE: Final = "xhr_signaling"


class XhrState:
    """The sessions of places, the places of clients that show none, and the rates of posts."""

    def __init__(self, worker: Worker) -> None:
        self.sessions: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        self.shared = SharedPlaces(worker.clock)
        self.rates = PostRates(worker.admissions)


def state_of(scope: Scope) -> XhrState:
    """Return the state of the worker that serves a request."""
    state: XhrState = scope["state"][STATE]
    return state
