import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.socketio.packets import (
    FRAMINGS,
    MAX_PACKETS,
    MESSAGE,
    PING,
    TEXT_FRAMINGS,
    BadPacket,
    EnginePacket,
    Payload,
    attachment,
)
from relay.model.codec import Frame


@pytest.mark.parametrize("revision", [3, 4])
@pytest.mark.parametrize(
    ("text", "packet"),
    [
        (b"2probe", EnginePacket(PING, b"probe")),
        (b"2", EnginePacket(PING, b"")),
        ("4€".encode(), EnginePacket(MESSAGE, "€".encode())),
        (b"0{}", EnginePacket(0, b"{}")),
        (b"6", EnginePacket(6, b"")),
    ],
)
def test_a_text_frame_is_a_packet(revision, text: bytes, packet: EnginePacket) -> None:
    assert FRAMINGS[revision].read(Frame(text)) == packet


def test_a_binary_frame_is_a_message_and_only_revision_3_writes_its_type() -> None:
    assert FRAMINGS[4].read(attachment(b"\1\2", 4)) == EnginePacket(MESSAGE, b"\1\2", binary=True)
    assert FRAMINGS[3].read(attachment(b"\1\2", 3)) == EnginePacket(MESSAGE, b"\1\2", binary=True)
    assert attachment(b"\1\2", 4).data == b"\1\2"
    assert attachment(b"\1\2", 3).data == b"\4\1\2"


@pytest.mark.parametrize("revision", [3, 4])
def test_a_binary_frame_as_text_is_the_same_packet(revision) -> None:
    assert FRAMINGS[revision].read(FRAMINGS[revision].as_text(attachment(b"\1\xff", revision))) == EnginePacket(
        MESSAGE, b"\1\xff", True
    )


@pytest.mark.parametrize(
    ("revision", "data"),
    [(4, b""), (4, b"7"), (4, b"abc"), (3, b"b5AQ=="), (3, b"b")],
)
def test_bad_packets(revision, data: bytes) -> None:
    with pytest.raises(BadPacket):
        FRAMINGS[revision].read(Frame(data))


UNUSUAL_BASE64 = {
    "a line break at its end": "_-8BAg==\n",
    "line breaks inside": "_-8\r\nBAg==\r\n",
    "no padding": "_-8BAg",
    "the other alphabet": "//8BAg==".replace("//8", "/+8"),
    "white space": " /+8B\tAg == ",
}


@pytest.mark.parametrize("base64", UNUSUAL_BASE64.values(), ids=UNUSUAL_BASE64)
def test_base64_in_every_form_that_node_reads(base64: str) -> None:
    binary, text = EnginePacket(MESSAGE, b"\xff\xef\x01\x02", binary=True), EnginePacket(MESSAGE, b"x")
    for framings in (FRAMINGS, TEXT_FRAMINGS):
        for version in (3, 2):
            packet = f"b4{base64}"
            body = f"{len(packet)}:{packet}2:4x".encode()
            assert framings[version].read_payload(body, binary=False) == [binary, text]
            assert framings[version].read(Frame(packet.encode())) == binary
        for body in (f"b{base64}\x1e4x", f"4x\x1eb{base64}"):
            assert sorted(framings[4].read_payload(body.encode(), binary=False)) == [text, binary]
        assert framings[4].read(Frame(f"b{base64}".encode())) == binary


@pytest.mark.parametrize("data", [b"", b"\0\1", b"\2"])
def test_bad_binary_frames_of_revision_3(data: bytes) -> None:
    with pytest.raises(BadPacket):
        FRAMINGS[3].read(Frame(data, is_text=False))


def test_payloads_of_revision_4() -> None:
    assert FRAMINGS[4].read_payload("4hé\x1e2\x1ebAQID".encode(), binary=False) == [
        EnginePacket(MESSAGE, "hé".encode()),
        EnginePacket(PING, b""),
        EnginePacket(MESSAGE, b"\1\2\3", binary=True),
    ]
    frames = [Frame(b"4a"), Frame(b"2"), attachment(b"\1\2\3", 4)]
    for framings in (FRAMINGS, TEXT_FRAMINGS):
        assert framings[4].write_payload(frames) == Payload(b"4a\x1e2\x1ebAQID")


def test_payloads_of_revision_3_count_utf_16_units() -> None:
    text = "4hé\U0001f600"
    body = f"{len(text.encode('utf-16-le')) // 2}:{text}1:26:b4AQID"
    assert FRAMINGS[3].read_payload(body.encode(), binary=False) == [
        EnginePacket(MESSAGE, "hé\U0001f600".encode()),
        EnginePacket(PING, b""),
        EnginePacket(MESSAGE, b"\1\2\3", binary=True),
    ]
    frames = [Frame(b"4a"), Frame(b"2"), attachment(b"\1\2\3", 3)]
    for version in (3, 2):
        assert TEXT_FRAMINGS[version].write_payload(frames) == Payload(b"2:4a1:26:b4AQID")


def test_text_that_a_client_of_version_1_encoded_twice_is_decoded_twice() -> None:
    once = "4snow ☃ é".encode().decode("latin-1")
    assert FRAMINGS[3].read_payload(f"{len(once)}:{once}".encode(), binary=False) == [
        EnginePacket(MESSAGE, "snow ☃ é".encode())
    ]


def test_binary_payloads_of_revision_3() -> None:
    body = b"\0\3\xff4hi" + b"\1\1\0\xff\4" + b"123456789"
    assert FRAMINGS[3].read_payload(body, binary=True) == [
        EnginePacket(MESSAGE, b"hi"),
        EnginePacket(MESSAGE, b"123456789", binary=True),
    ]
    frames = [Frame(b"4hi"), attachment(b"123456789", 3)]
    for version in (3, 2):
        assert FRAMINGS[version].write_payload(frames) == Payload(body, binary=True)


def test_a_client_with_eio_2_encodes_text_twice_over_a_websocket_as_well() -> None:
    twice = "4snow ☃ é".encode().decode("latin-1").encode()
    for framings in (FRAMINGS, TEXT_FRAMINGS):
        assert framings[2].read(Frame(twice)) == EnginePacket(MESSAGE, "snow ☃ é".encode())
        assert framings[3].read(Frame(twice)) == EnginePacket(MESSAGE, twice[1:])
        assert framings[2].read(Frame(b"4plain")) == EnginePacket(MESSAGE, b"plain")


@pytest.mark.parametrize(
    ("revision", "body"),
    [
        (4, b""),
        (4, b"4a\x1e"),
        (4, b"4\xff"),
        (4, b"abc"),
        (4, b"2\x1e" * MAX_PACKETS + b"2"),
        (3, b""),
        (3, b"4hello"),
        (3, b":"),
        (3, b"x:4"),
        (3, b"5:4a"),
        (3, b"0:"),
        (3, b"-1:4"),
        (3, b"99999999999:4"),
        (3, "2:4\U0001f600".encode()),
        (3, b"1:\xff"),
        (3, b"d=1:2"),
    ],
)
def test_bad_payloads(revision, body: bytes) -> None:
    with pytest.raises(BadPacket):
        FRAMINGS[revision].read_payload(body, binary=False)


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"\0\xff", b"\0\1", b"\2\1\xff4", b"\0\x0a\xff4", b"\0\2\xff4", b"\1\1\xff\0", b"\0\2\xff4\xff"],
)
def test_bad_binary_payloads(body: bytes) -> None:
    with pytest.raises(BadPacket):
        FRAMINGS[3].read_payload(body, binary=True)


def test_revision_4_has_no_binary_payloads() -> None:
    with pytest.raises(BadPacket):
        FRAMINGS[4].read_payload(b"4a", binary=True)


@given(st.binary(), st.sampled_from([3, 4]), st.booleans())
def test_no_payload_raises_another_error(body: bytes, revision, binary: bool) -> None:
    with contextlib.suppress(BadPacket):
        FRAMINGS[revision].read_payload(body, binary=binary)


@given(
    st.lists(st.text().map(lambda text: text.replace("\x1e", "")) | st.binary(), min_size=1), st.sampled_from([3, 4])
)
def test_a_written_payload_is_read_as_the_same_messages(messages: list[str | bytes], revision) -> None:
    messages = [text.encode(errors="ignore").decode() if isinstance(text, str) else text for text in messages]
    frames = [
        attachment(one, revision) if isinstance(one, bytes) else Frame(b"4" + ascii(one).encode()) for one in messages
    ]
    wanted = [one if isinstance(one, bytes) else ascii(one).encode() for one in messages]
    for framings in (FRAMINGS, TEXT_FRAMINGS):
        body, binary = framings[revision].write_payload(frames)
        assert [packet.data for packet in framings[revision].read_payload(body, binary=binary)] == wanted
