"""The state of the gateway on one worker: sessions, and the rates of clients that post."""

from typing import Final

from starlette.types import Scope

from relay.gateways.base.cursor_polls import CursorPolls
from relay.gateways.base.http_sessions import HttpSession, HttpSessions
from relay.gateways.base.post_rates import PostRates
from relay.gateways.plainhttp.declaration import NAME
from relay.gateways.plainhttp.polls import IDLE
from relay.model.codec import Frame
from relay.rooms.worker import Worker

STATE: Final = "plain_http"


class HttpState:
    """The sessions of polls and of streams on one worker, and the rates of the places that post to it."""

    def __init__(self, worker: Worker) -> None:
        self.polls = CursorPolls(worker, NAME, idle=IDLE)
        self.streams: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        self.rates = PostRates(worker.admissions)


def state_of(scope: Scope) -> HttpState:
    """Return the state of the worker that serves a request."""
    state: HttpState = scope["state"][STATE]
    return state
