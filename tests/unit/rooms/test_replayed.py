"""Frames of replayed messages are made once for members that come back together."""

from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Encoder, Frame
from relay.model.envelope import MessageId
from relay.model.events import Message
from relay.rooms.replayed import ReplayedFrames


def message(seq: int, size: int = 1000, room: str = "room") -> Message:
    return Message(room, MessageId(1, seq), "p", (), "", b'{"message":"%b"}' % (b"x" * size))


class Encoding:
    """Encodes, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, codec: Encoder, message: Message) -> Frame:
        self.count += 1
        return codec.encode(message)


async def test_members_with_the_same_codec_share_a_frame() -> None:
    frames, encode, codec = ReplayedFrames(), Encoding(), NativeCodec()
    first = frames.frame(codec, message(1), encode)
    assert frames.frame(NativeCodec(), message(1), encode) is first
    others = [
        frames.frame(codec, message(2), encode),
        frames.frame(codec, message(1, room="other"), encode),
        frames.frame(NativeCodec(tagged=True), message(1), encode),
    ]
    assert first not in others
    assert encode.count == 4


async def test_small_messages_are_not_kept() -> None:
    frames, encode, codec = ReplayedFrames(), Encoding(), NativeCodec()
    for _ in range(3):
        frames.frame(codec, message(1, 10), encode)
    assert encode.count == 3


async def test_no_more_than_the_limit_is_kept() -> None:
    frames, encode, codec = ReplayedFrames(limit=5000), Encoding(), NativeCodec()
    for seq in range(20):
        frames.frame(codec, message(seq), encode)
    assert frames._size <= 5000
    frames.frame(codec, message(19), encode)
    assert encode.count == 20
    frames.frame(codec, message(0), encode)
    assert encode.count == 21
    frames.frame(codec, message(100, 10_000), encode)
    assert (frames._size, len(frames._frames)) == (0, 0)


async def test_frames_are_forgotten_after_some_seconds() -> None:
    frames, encode, codec = ReplayedFrames(), Encoding(), NativeCodec()
    frames.frame(codec, message(1), encode)
    frames._forget_all()
    frames.frame(codec, message(1), encode)
    assert encode.count == 2
