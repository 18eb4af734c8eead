import pytest

from relay.backend.bus import Stretches
from relay.backend.redis.stretches import read_stretches


def test_stretches_are_read_with_the_newest_change() -> None:
    assert read_stretches(b"17 4 5-9 2-2", 17) == Stretches([(5, 9), (2, 2)], 4)


@pytest.mark.parametrize("text", [b"", b"17", b"17 4 5", b"17 4 5-9-2", b"17 x 5-9", b"\xff 4 5-9", b"18 4 5-9"])
def test_a_value_of_another_epoch_or_program_tells_nothing(text: bytes) -> None:
    assert read_stretches(text, 17) == Stretches()
