"""A session that a request begins, whose response has the error of the join."""

from functools import partial

import pytest

from relay.config import Settings
from relay.gateways.base.http import HttpBody
from relay.gateways.base.http_sessions import HttpSession, HttpSessions, NoPosts
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.polling_rules import PollAnswer, PollingRules
from relay.gateways.base.requested_session import RequestedSession
from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import KICKED, Refused
from relay.rooms.worker import Worker


class Dialect(NoPosts):
    def answer(self, answer: PollAnswer) -> HttpBody:
        return HttpBody(b"")


def begin(sessions: HttpSessions[HttpSession[Frame]], name: str) -> RequestedSession[Frame]:
    ticket, codecs = sessions.worker.admit("", "test"), CodecPair(NativeCodec(), NativeCodec())
    return RequestedSession(
        sessions, codecs, ticket, dialect=Dialect(), rules=PollingRules(repeated_answers=1), session_id=name
    )


async def test_the_error_of_a_join_is_raised_to_the_request_and_waits_for_no_poll() -> None:
    async with Worker(Settings(members_per_room=1)) as worker:
        sessions: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        joined, refused = begin(sessions, "ann"), begin(sessions, "ben")
        for session in (joined, refused):
            await session.enter(partial(JoinRequest, "room", session.id))
        joined.check_joined()
        assert refused.was_refused
        with pytest.raises(Refused, match="room_full"):
            refused.check_joined()
        refused.closed(KICKED, PollAnswer((), KICKED))
        joined.closed(KICKED, PollAnswer((), KICKED))
        assert sessions.take_last_answer("ben") is None
        assert sessions.take_last_answer("ann") is not None


async def test_the_position_of_a_client_is_the_newest_of_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[MessageId] = []
    monkeypatch.setattr(Worker, "acknowledge", lambda _self, _member, position, *, at_once: noted.append(position))
    async with Worker(Settings()) as worker:
        sessions: HttpSessions[HttpSession[Frame]] = HttpSessions(worker)
        session = begin(sessions, "ann")
        ids = [MessageId(1, 2), MessageId(1, 4), MessageId(1, 3)]
        session.note_position(ids)  # it is in no room yet
        await session.enter(partial(JoinRequest, "room", "ann"))
        session.note_position([])
        session.note_position(ids)
        assert noted == [MessageId(1, 4)]
