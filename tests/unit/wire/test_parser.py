"""The library's parser: whether it is idle, and the names in its close frames."""

from websockets.protocol import State

from relay.wire.parser import FrameParser


def test_the_parser_still_shows_whether_it_is_idle() -> None:
    parser = FrameParser(1000)
    assert parser.idle
    for byte in b"\x81\x82\x00\x00\x00\x00h":
        parser.receive_data(bytes([byte]))
        assert not parser.idle
    parser.receive_data(b"i")
    assert parser.idle
    parser.receive_data(b"\x01\x80\x00\x00\x00\x00")
    assert not parser.idle, "a message is begun"


def test_a_failure_is_closed_with_the_name_of_its_code() -> None:
    parser = FrameParser(1000)
    parser.receive_data(b"\x83\x80\x00\x00\x00\x00")  # opcode 3 is reserved
    assert parser.state is State.CLOSING
    assert b"".join(parser.data_to_send())[4:] == b"protocol_error"


def test_a_close_in_the_middle_of_a_message_is_a_close() -> None:
    parser = FrameParser(1000)
    parser.receive_data(b"\x01\x80\x00\x00\x00\x00")
    parser.receive_data(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert parser.close_rcvd is not None
    assert parser.close_rcvd.code == 1000
    assert not parser.idle
