"""The commands of one connection to which the relay has not answered yet. No I/O."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from relay.client.errors import NotAcknowledged, Rejected
from relay.client.frames import FrameFields


class _Request(NamedTuple):
    type: str
    answer: asyncio.Future[FrameFields]


class Requests:
    """Gives each command a key, and finds the command of an answer by it."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Request] = {}
        self._numbers = itertools.count()
        self._ended = False

    def begin(self, command: Mapping[str, Any]) -> tuple[bytes, asyncio.Future[FrameFields]]:
        """Return the frame of a command, and the future of its answer; raise `NotAcknowledged` after `end`.

        The future fails with `Rejected` if the relay refuses, or with `NotAcknowledged` if the connection ends first.
        """
        if self._ended:
            raise NotAcknowledged(possibly_sent=False)
        key = f"request-{next(self._numbers)}"
        answer: asyncio.Future[FrameFields] = asyncio.get_running_loop().create_future()
        self._waiting[key] = _Request(command["type"], answer)
        return msgspec.json.encode({**command, "key": key}), answer

    def received(self, frame: FrameFields) -> None:
        """Handle a frame of the relay: it may be the answer to a command.

        A client that closes its room is put out as well, and may be told so ahead of the answer.
        """
        if frame.get("type") == "closed":
            for key in [key for key, request in self._waiting.items() if request.type == "close"]:
                _succeed(self._waiting.pop(key).answer, frame)
        request = self._waiting.pop(str(frame.get("key", "")), None)
        if request is not None and frame.get("type") == "error":
            _fail(request.answer, Rejected(str(frame.get("code", "")), str(frame.get("text", ""))))
        elif request is not None:
            _succeed(request.answer, frame)

    def end(self) -> None:
        """Fail all commands: the connection is over."""
        self._ended = True
        while self._waiting:
            _fail(self._waiting.popitem()[1].answer, NotAcknowledged(possibly_sent=True))


def _succeed(answer: asyncio.Future[FrameFields], frame: FrameFields) -> None:
    if not answer.done():
        answer.set_result(frame)


def _fail(answer: asyncio.Future[FrameFields], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Perhaps no caller waits any more; reading the exception keeps asyncio from logging that it was ignored.
        answer.exception()
