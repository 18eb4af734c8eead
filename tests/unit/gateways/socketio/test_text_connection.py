"""Clients that cannot read binary frames."""

import pytest

from relay.gateways.socketio.packets import FRAMINGS
from relay.gateways.socketio.text_connection import TextConnection
from relay.model.codec import Batch, Bundle, Frame
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.socketio.clients import FakeConnection

TEXT = Frame(b"42[]")


@pytest.mark.parametrize(("version", "attachment", "text"), [(4, b"\1", b"bAQ=="), (3, b"\4\1", b"b4AQ==")])
def test_each_part_of_a_frame_is_written_as_text(version: int, attachment: bytes, text: bytes) -> None:
    inner = FakeConnection()
    one = TextConnection(inner, FRAMINGS[version])
    bundle = Bundle([TEXT, Frame(attachment, is_text=False)])
    one.write(bundle)
    one.write_batch(Batch([bundle, TEXT]))
    assert inner.written == [TEXT.data, text, TEXT.data, text, TEXT.data]
    assert all(inner.texts)


def test_all_else_is_that_of_the_other_connection() -> None:
    inner = FakeConnection()
    one = TextConnection(inner, FRAMINGS[4])
    one.pause_reading(paused=True)
    one.close(GOING_AWAY)
    assert (inner.paused, inner.reason, one.reason) == ([True], GOING_AWAY, GOING_AWAY)
    one.reason = None
    assert inner.reason is None
