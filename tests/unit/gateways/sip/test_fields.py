"""Reading fields."""

import time

import pytest

from relay.gateways.sip.fields import (
    BadField,
    read_address,
    read_credentials,
    read_number,
    read_sequence,
    read_uri,
    read_via,
    split_list,
    split_parameters,
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sip:alice@localhost", ("alice", "localhost", "")),
        ("SIP:Alice@LOCALHOST:5060;transport=ws?x=y", ("Alice", "localhost", "5060")),
        ("sip:j%40s0n@example.com", ("j@s0n", "example.com", "")),
        ("sip:alice:secret@[2001:db8::10]:70", ("alice", "[2001:db8::10]", "70")),
        ("sip:user;par=u%40example.net@example.com", ("user;par=u@example.net", "example.com", "")),
        ("sip:example.com", ("", "example.com", "")),
        ("tel:+4412", ("", "", "")),
    ],
)
def test_uris(text: str, place: tuple[str, str, str]) -> None:
    uri = read_uri(text)
    assert uri.place == place
    assert uri.text == text


@pytest.mark.parametrize(
    "text",
    ["", "alice", "sip:", "sip:@x", "sip:a@", "sip:a%zz@x", "sip:a b@x", "sip:a@x>y", "sip:a@x:123456",
     "sip:a@" + "x" * 3000],
)  # fmt: skip
def test_texts_that_are_no_uri(text: str) -> None:
    with pytest.raises(BadField):
        read_uri(text)


@pytest.mark.parametrize(
    ("text", "user", "tag"),
    [
        ("<sip:alice@x>;tag=1", "alice", "1"),
        ("sip:alice@x;tag=1", "alice", "1"),
        ('"A <b>, \\"c\\"; d" <sip:alice@x;lr> ; TAG = "a b"', "alice", "a b"),
        ("Alice Weber <sip:alice@x>", "alice", ""),
    ],
)
def test_addresses(text: str, user: str, tag: str) -> None:
    address = read_address(text)
    assert (address.uri.user, address.tag) == (user, tag)


@pytest.mark.parametrize(
    "text",
    ['"Alice <sip:alice@x>', "<sip:alice@x", "Bell, A <sip:a@x>", "<sip:a@x> b", "<sip:a@x>;;tag=1", "sip:a@x?b=c"],
)
def test_texts_that_are_no_address(text: str) -> None:
    with pytest.raises(BadField):
        read_address(text)


def test_lists_and_parameters() -> None:
    assert split_list('"a, b" <sip:a@x;y=1,2>;q=1, <sip:b@x>') == ['"a, b" <sip:a@x;y=1,2>;q=1', "<sip:b@x>"]
    assert split_parameters('<sip:a@x;lr>;+sip.instance="<urn:uuid:1>";reg-id=1') == [
        "<sip:a@x;lr>", '+sip.instance="<urn:uuid:1>"', "reg-id=1",
    ]  # fmt: skip


def test_vias() -> None:
    via = read_via("SIP / 2.0 / UDP   192.0.2.2:5060 ; Branch = z9hG4bK1;rport")
    assert (via.host, via.port, via.branch, via.parameters["rport"]) == ("192.0.2.2", "5060", "z9hG4bK1", "")
    for text in ("", "SIP/2.0/WS", "SIP/3.0/WS x", "SIP/2.0/WS x y", "HTTP/2.0/WS x"):
        with pytest.raises(BadField):
            read_via(text)


def test_numbers() -> None:
    assert read_sequence("0009  INVITE").number == 9
    assert read_number("070", 255) == 70
    for text in ("", "-1", "1", "1 INVITE x", "2147483648 INVITE", "x INVITE"):
        with pytest.raises(BadField):
            read_sequence(text)
    for text in ("", "256", "1.5", "٣"):
        with pytest.raises(BadField):
            read_number(text, 255)


def test_credentials() -> None:
    assert read_credentials('Digest username="a, b",realm=r , qop=auth')[2] == {
        "username": "a, b", "realm": "r", "qop": "auth",
    }  # fmt: skip
    assert read_credentials("Bearer a.b.c") == ("bearer", "a.b.c", {})
    assert read_credentials("Digest a=b c") == ("digest", "a=b c", {})


def test_the_time_is_linear() -> None:
    """Texts on which a reader with backtracking would take hours."""
    began = time.process_time()
    texts = [
        "Digest " + 'a="b", ' * 4000 + "!", '"' * 30_000, '"' + "\\" * 30_001, "<" * 30_000, ";" * 30_000,
        "a-" * 15_000,
    ]  # fmt: skip
    for text in texts:
        read_credentials(text)
        for read in (read_uri, read_address, read_via, read_sequence):
            with pytest.raises(BadField):
                read(text)
    assert time.process_time() - began < 5
