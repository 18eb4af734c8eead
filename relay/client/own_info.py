"""The client's own member info, until the relay has it. No I/O.

An info is a state, not a message: of several changes, only the newest is sent, and a new connection gives it with its
request to join. So a change is confirmed by the relay's answer to the command `info`, or by a welcome.
"""

import asyncio
import itertools
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from relay.client.errors import Rejected
from relay.client.outbox import SEND_AGAIN
from relay.model.errors import Refused
from relay.model.member_info import read_info


class OwnInfo:
    """The newest info (`text` is JSON, "" for none), and how much of it the relay has confirmed.

    Every change has a number; `text` is that of the newest one.
    """

    def __init__(self, info: Mapping[str, Any] | None = None) -> None:
        """Start with the info to join with; raises ValueError for one that the relay would refuse."""
        try:
            self.text = _encode(info)
        except Rejected as error:
            raise ValueError(error.text) from None
        self._number = 0
        self._confirmed = 0
        self._offered = 0
        self._sent = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._prefix = f"info-{secrets.token_urlsafe(6)}-"
        self._attempts = itertools.count()
        self._key = ""

    def change(self, info: Mapping[str, Any] | None) -> asyncio.Future[None]:
        """Replace the info; the future is done when the relay has this one or a newer one. May raise `Rejected`."""
        self.text = _encode(info)
        self._number += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = done
        return done

    def offer(self) -> str:
        """Return the info to join with: a connection that is made now gives it to the relay, unless it is ""."""
        # Without an info in the request, a member that resumes keeps the one it has.
        self._offered = self._number if self.text else 0
        return self.text

    def welcomed(self) -> None:
        """Note that the relay accepted the connection, and has the info that it offered."""
        self._confirm(self._offered)
        self._key = ""

    def to_send(self) -> bytes | None:
        """Return the frame to send now, if the relay does not have the newest info and no other frame is on its way."""
        if self._key or self._confirmed == self._number:
            return None
        self._key = f"{self._prefix}{next(self._attempts)}"
        self._sent = self._number
        info = msgspec.Raw(self.text.encode() or b"null")
        return msgspec.json.encode({"type": "info", "info": info, "key": self._key})

    def has(self, key: str) -> bool:
        """Return whether the frame that is on its way has this key."""
        return bool(key) and key == self._key

    def answered(self, key: str) -> None:
        """Handle the relay's answer to a frame."""
        if self.has(key):
            self._confirm(self._sent)
            self._key = ""

    def refused(self, key: str, code: str, text: str) -> bool:
        """Handle the relay's error about a frame; return whether the info is to be sent again, after a pause."""
        if not self.has(key):
            return False
        self._key = ""
        if code in SEND_AGAIN:
            return True
        self._end(self._sent, Rejected(code, text))
        return False

    def fail(self, error: Exception) -> None:
        """Fail the futures of all changes that the relay has not confirmed."""
        self._end(self._number, error)

    def _confirm(self, number: int) -> None:
        self._end(number, None)

    def _end(self, number: int, error: Exception | None) -> None:
        """End the changes up to this one; a change that was refused is not sent again either."""
        self._confirmed = max(self._confirmed, number)
        for older in [one for one in self._waiting if one <= number]:
            done = self._waiting.pop(older)
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                # Perhaps no caller waits for this future; reading the exception keeps asyncio from logging it.
                done.exception()


def _encode(info: Mapping[str, Any] | None) -> str:
    if info is None:
        return ""
    try:
        return read_info(msgspec.json.encode(info)).decode()
    except Refused as error:
        raise Rejected(error.code, error.text) from None
    except RecursionError:
        raise Rejected("bad_info", "info nests too deep") from None
