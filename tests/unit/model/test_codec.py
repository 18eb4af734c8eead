"""Frames as they go over the wire."""

import pytest
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from relay.model.codec import NOTHING, Batch, Bundle, Frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("is_text", [True, False])
def test_the_wire_form_is_that_of_the_rfc(length: int, is_text: bool) -> None:
    data = b"x" * length
    expected = WireFrame(Opcode.TEXT if is_text else Opcode.BINARY, data).serialize(mask=False)
    frame = Frame(data, is_text=is_text)
    assert frame.wire == expected
    assert frame.wire is frame.wire, "made once, and shared by all receivers"


def test_the_text_is_decoded_once() -> None:
    frame = Frame("é".encode())
    assert frame.text == "é"
    assert frame.text is frame.text


def test_a_frame_is_its_own_only_part_and_a_bundle_has_several() -> None:
    text, attachment = Frame(b"{}"), Frame(b"\0", is_text=False)
    assert text.parts == (text,)
    bundle = Bundle([text, attachment])
    assert list(bundle.parts) == [text, attachment]
    assert (bundle.data, bundle.is_text) == (b"{}", True)
    assert bundle.wire == text.wire + attachment.wire
    assert bundle.wire is bundle.wire


def test_a_batch_is_written_at_once() -> None:
    frames = [Frame(b"a"), Frame(b"bc")]
    batch = Batch(frames)
    assert batch.size == 3
    assert batch.wire == frames[0].wire + frames[1].wire
    assert batch.wire is batch.wire


def test_nothing_has_no_data() -> None:
    assert not NOTHING.data
