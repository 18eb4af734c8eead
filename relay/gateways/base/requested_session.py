"""Sessions whose clients are told in the response to a request whether they have joined."""

from collections.abc import Iterable
from typing import Any

from relay.gateways.base.http_sessions import HttpDialect, HttpSession, HttpSessions
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.model.codec import Encoder, In
from relay.model.envelope import MessageId
from relay.model.errors import CloseReason, Refused, RelayError
from relay.rooms.admissions import Ticket


class RequestedSession(HttpSession[In]):
    """The session of a client that a request begins, whose response has the error if the client may not join."""

    __slots__ = ("_refused",)

    def __init__(
        self,
        sessions: HttpSessions[Any],
        codecs: CodecPair[In],
        ticket: Ticket,
        *,
        dialect: HttpDialect[In],
        rules: PollingRules,
        session_id: str,
    ) -> None:
        super().__init__(sessions, codecs, ticket, dialect=dialect, rules=rules, session_id=session_id)
        self._refused: RelayError | None = None

    @property
    def was_refused(self) -> bool:
        """Whether the client could not join."""
        return self._refused is not None

    def check_joined(self) -> None:
        """Raise the error because of which the client could not join, as `Refused`."""
        error = self._refused
        if error is not None:
            raise error if isinstance(error, Refused) else Refused(error.code, error.text, **error.detail)

    def note_position(self, ids: Iterable[MessageId], *, at_once: bool = False) -> None:
        """Note that the client has everything up to the newest of these ids; `at_once` as in `Worker.acknowledge`."""
        members, newest = self._rooms.memberships(), max(ids, default=None)
        if members and newest is not None:
            self._worker.acknowledge(members[0], newest, at_once=at_once)

    def closed(self, reason: CloseReason, final: PollAnswer | None) -> None:
        """End the session; no poll waits for the reason why the client could not join."""
        super().closed(reason, None if self.was_refused else final)

    def _send_error(
        self, error: RelayError, *, about: str = "", key: str = "", codec: Encoder | None = None, room: str = ""
    ) -> None:
        if about == "join":
            # The request that began the session is answered with it, and counted then.
            self._refused = error
        else:
            super()._send_error(error, about=about, key=key, codec=codec, room=room)
