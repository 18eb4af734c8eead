"""The state of the gateway on one worker: sessions, rates of posts, keys of places that have ended, and a timer."""

from typing import Final

from starlette.types import Scope

from relay.gateways.base.cursor_polls import CursorPolls
from relay.gateways.base.http_sessions import HttpSession, HttpSessions
from relay.gateways.base.post_rates import PostRates
from relay.gateways.signalrclassic.declaration import PROTOCOL
from relay.gateways.signalrclassic.goodbyes import LeftPlaces
from relay.gateways.signalrclassic.polls import IDLE, MAX_BODY
from relay.gateways.signalrclassic.sockets import keepalive
from relay.model.codec import Frame
from relay.rooms.worker import Worker

STATE: Final = "signalr_classic"


class ClassicState:
    """The sessions of polls and of streams on one worker, the rates of the places that post to it, and the timer.

    `left` are the places whose clients have said goodbye.
    """

    def __init__(self, worker: Worker) -> None:
        self.left = LeftPlaces(worker)
        self.polls = CursorPolls(worker, PROTOCOL, idle=IDLE, limit=MAX_BODY, enter=self.left.enter)
        self.streams: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        self.rates = PostRates(worker.admissions)
        self.keepalive = keepalive()


def state_of(scope: Scope) -> ClassicState:
    """Return the state of the worker that serves a request."""
    state: ClassicState = scope["state"][STATE]
    return state
