"""The beginning of a stream."""

import pytest

from relay.config import Settings
from relay.gateways.xmpp.negotiation import read_credentials
from relay.gateways.xmpp.reading import read
from relay.model.errors import RelayError
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.xmpp.streams import BIND, OPEN, Stream, auth, code, plain


async def test_the_order_of_a_login(worker: Worker) -> None:
    stream = Stream(worker)
    await stream.session.greet()
    await stream.send(OPEN)
    opened, features = stream.elements()
    assert (opened.name, opened.get("from"), opened.get("version")) == ("open", "localhost", "1.0")
    assert stream.connection.frames[1].data.startswith(b'<stream:features xmlns:stream="http://etherx.jabber.org')
    assert [one.text for one in features.all() if one.name == "mechanism"] == ["ANONYMOUS", "PLAIN"]
    await stream.send(auth("ANONYMOUS"))
    assert [one.name for one in await stream.until("success")] == ["success"]
    await stream.send(OPEN, BIND)
    opened, features, bound = stream.elements()
    assert features.child("bind", "urn:ietf:params:xml:ns:xmpp-bind") is not None
    assert (bound.get("type"), bound.get("id")) == ("result", "b1")
    (jid,) = (one.text for one in bound.all() if one.name == "jid")
    assert jid.endswith("@localhost/web")
    assert jid == jid.lower()


async def test_without_auth_the_user_of_plain_is_the_address_and_nothing_else(worker: Worker) -> None:
    stream = await Stream(worker).log_in(plain("Alice", "any"))
    assert b"<jid>alice@localhost/web</jid>" in stream.connection.frames[-1].data


@pytest.mark.parametrize(
    ("credentials", "expected", "condition"),
    [
        (auth("ANONYMOUS"), "token_required", "not-authorized"),
        (plain("a", "nonsense"), "bad_token", "not-authorized"),
        (plain("a", token(ttl=-60)), "token_expired", "credentials-expired"),
        (auth("SCRAM-SHA-1", "biwsbj1h"), "bad_mechanism", "invalid-mechanism"),
        (auth("PLAIN", "=="), "bad_stanza", "incorrect-encoding"),
        (auth("PLAIN", "no base64!"), "bad_stanza", "incorrect-encoding"),
        (auth("PLAIN", "A" * 20_000), "bad_stanza", "incorrect-encoding"),
    ],
)
async def test_a_login_that_fails_can_be_tried_again(credentials: str, expected: str, condition: str) -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET, auth_leeway=0)) as worker:
        stream = Stream(worker)
        await stream.session.greet()
        await stream.send(OPEN, credentials)
        failure = (await stream.until("failure"))[-1]
        assert (failure.children[0].name, code(failure)) == (condition, expected)
        await stream.send(plain("a", token(sub="Ann B")))
        await stream.until("success")
        await stream.send(OPEN, BIND)
        assert b"<jid>\\41nn\\20\\42@localhost/web</jid>" in stream.connection.frames[-1].data


@pytest.mark.parametrize(
    ("frames", "condition"),
    [
        ([BIND], "not-authorized"),
        ([OPEN, BIND], "not-authorized"),
        ([OPEN, OPEN], "bad-format"),
        ([OPEN.replace("localhost", "a b")], "host-unknown"),
        ([OPEN.replace("localhost", "conference.localhost")], "host-unknown"),
        ([OPEN, "<message to='a@conference.localhost'/>"], "not-authorized"),
        ([OPEN, "<auth"], "not-well-formed"),
        ([OPEN, "<?xml version='1.0'?>"], "restricted-xml"),
        ([OPEN, f"<auth>{'A' * 40_000}</auth>"], "policy-violation"),
    ],
)
async def test_a_stream_that_begins_in_another_way_ends(worker: Worker, frames: list[str], condition: str) -> None:
    stream = Stream(worker)
    await stream.session.greet()
    await stream.send(*frames)
    *_, error, close = stream.elements()
    assert (error.name, close.name) == ("error", "close")
    assert error.children[0].name == condition
    assert stream.connection.reason is not None


async def test_a_login_has_few_frames(worker: Worker) -> None:
    stream = Stream(worker)
    await stream.session.greet()
    await stream.send(OPEN)
    for _ in range(20):
        if stream.connection.reason is None:
            before = len(stream.connection.frames)
            await stream.send(auth("GUESS"))
            await until(lambda before=before: len(stream.connection.frames) > before or stream.connection.reason)
    assert stream.connection.reason is not None
    assert b"policy-violation" in stream.connection.frames[-2].data


def test_an_empty_response() -> None:
    assert read_credentials(read(b'<auth mechanism="ANONYMOUS">=</auth>').root) == ("", "")
    with pytest.raises(RelayError, match="bad_stanza"):
        read_credentials(read(b'<auth mechanism="PLAIN">=</auth>').root)
