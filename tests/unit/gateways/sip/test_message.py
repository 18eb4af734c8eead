"""Messages: fields that are kept, and changed, and the torture tests of RFC 4475."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.sip.fields import BadField
from relay.gateways.sip.message import (
    MOST_FIELDS,
    MOST_HEAD,
    NotSip,
    SipRequest,
    SipResponse,
    read_message,
    request,
)
from tests.unit.gateways.sip.torture import MESSAGES, Expected, Torture

HEAD = (
    "INVITE sip:bob@x SIP/2.0\r\nv: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nf: <sip:alice@x>;tag=1\r\nt:\r\n"
    "  <sip:bob@x>\r\ni: 1\r\nCSeq: 1 INVITE\r\nX-Odd  :  ;;,,;\r\n"
    "via: SIP/2.0/WS b;branch=2, SIP/2.0/WS c;branch=3\r\n"
)


def whole(head: str = HEAD, body: str = "body ☃") -> SipRequest:
    message = read_message(f"{head}\r\n{body}".encode())
    assert isinstance(message, SipRequest)
    message.check()
    return message


def test_a_message_is_kept_byte_for_byte() -> None:
    assert whole().encode() == f"{HEAD}\r\nbody ☃".encode()


def test_short_names_and_folds_are_read() -> None:
    message = whole()
    assert (message.method, message.sender.tag, message.to.uri.user, message.call) == ("INVITE", "1", "bob", "1")
    assert message.value("x-odd") == ";;,,;"
    assert message.transaction == ("z9hG4bK1", "a.invalid", "1", 1)


def test_only_the_named_fields_change() -> None:
    message = whole().with_via("SIP/2.0/WS relay;branch=9")
    assert message.encode() == whole().encode().replace(b"v: SIP", b"Via: SIP/2.0/WS relay;branch=9\r\nv: SIP", 1)
    assert message.without_via().encode() == whole().encode()
    assert whole().to_uri("sip:c@d").start == "INVITE sip:c@d SIP/2.0"
    assert whole().forwarded().value("max-forwards") == "69"
    hops = whole(HEAD + "Max-Forwards: 5\r\nLast: 1\r\n").forwarded()
    assert [(field.name, field.value) for field in hops.fields[-2:]] == [("max-forwards", "4"), ("last", "1")]


def test_one_value_of_a_via_is_taken_out() -> None:
    message = whole(HEAD.replace("v: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\n", ""))
    assert message.via.host == "b"
    assert message.without_via().via.host == "c"


def test_lengths() -> None:
    assert whole(HEAD + "l: 4\r\n").body == b"body"
    for length in ("100", "-1", "x"):
        with pytest.raises(BadField) as error:
            read_message(f"{HEAD}l: {length}\r\n\r\nbody".encode())
        assert isinstance(error.value.args[1], SipRequest)


@pytest.mark.parametrize(
    "data",
    [
        b"hello", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe", b"INVITE sip:a@b SIP/2.0\r\nno field\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nX: \xff\r\n\r\n", b"INVITE sip:a@b SIP/2.0\r\nX: a\nb\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n" + b"X: y\r\n" * (MOST_FIELDS + 1) + b"\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nX: " + b"y" * MOST_HEAD + b"\r\n\r\n", b'{"message":"hello"}',
        b"SIP/2.0 200 OK\nX: a\r\n\r\n", b"SIP/2.0 200 OK\rX: a\r\n\r\n",
    ],
)  # fmt: skip
def test_data_that_is_no_message(data: bytes) -> None:
    with pytest.raises(NotSip):
        read_message(data)


@given(st.binary(max_size=200), st.integers(0, len(HEAD)), st.integers(0, 40))
def test_any_bytes_have_one_of_three_ends(noise: bytes, position: int, dropped: int) -> None:
    data = HEAD.encode()
    try:
        message = read_message(data[:position] + noise + data[position + dropped :] + b"\r\n")
        message.check()
    except (NotSip, BadField):
        return
    assert read_message(message.encode()) == message


def test_a_made_request() -> None:
    made = request("MESSAGE", "sip:a@b", [("To", "<sip:a@b>")], b"\xe2\x98\x83")
    assert made.encode() == b"MESSAGE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nContent-Length: 3\r\n\r\n\xe2\x98\x83"


@pytest.mark.parametrize("torture", MESSAGES, ids=[one.name for one in MESSAGES])
def test_torture(torture: Torture) -> None:
    data = torture.data
    if torture.expected is Expected.NOT_SIP:
        with pytest.raises(NotSip):
            read_message(data)
        return
    try:
        message = read_message(data)
        message.check()
    except BadField:
        assert torture.expected is Expected.BAD
        return
    assert torture.expected is Expected.GOOD
    if torture.name != "dblreq":
        assert message.encode() == data
    assert isinstance(message, SipRequest | SipResponse)
