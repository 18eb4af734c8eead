"""The beginning and the end of a stream."""

import pytest

from relay.gateways.xmpp import stream_session
from relay.gateways.xmpp.stream_session import MOST_LOGIN, MOST_STEPS
from relay.model.errors import GOING_AWAY, TOKEN_EXPIRED
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.xmpp.streams import OPEN, Stream, auth, code


async def test_a_stream_that_the_relay_ends_says_why(worker: Worker) -> None:
    for reason, condition in ((GOING_AWAY, "system-shutdown"), (TOKEN_EXPIRED, "not-authorized")):
        stream = await Stream(worker).log_in()
        if reason is TOKEN_EXPIRED:
            stream.session.token_expired()
        else:
            stream.session.close_gracefully(reason)
        error, close = stream.elements()
        assert (error.children[0].name, code(error)) == (condition, reason.name)
        assert close.name == "close"


async def test_a_client_that_does_not_log_in_is_closed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_session, "LOGIN_TIMEOUT", 0)
    stream = Stream(worker)
    await stream.session.greet()
    await until(lambda: stream.connection.reason is not None)
    error, close = stream.elements()
    assert (error.children[0].name, code(error), close.name) == ("connection-timeout", "login_timeout", "close")


@pytest.mark.parametrize("frames", [[" "] * (MOST_STEPS + 1), [OPEN, auth("PLAIN", "A" * MOST_LOGIN)]])
async def test_a_login_is_bounded_in_frames_and_bytes(worker: Worker, frames: list[str]) -> None:
    stream = Stream(worker)
    await stream.session.greet()
    await stream.send(*frames)
    *_, error, close = stream.elements()
    assert (error.children[0].name, code(error), close.name) == ("policy-violation", "bad_stanza", "close")
    assert stream.connection.reason is not None
