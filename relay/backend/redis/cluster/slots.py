"""The slots of a Redis Cluster: each key is in one of 16,384, by the CRC16 of its hash tag."""

from binascii import crc_hqx
from collections.abc import Callable
from itertools import count
from typing import Final

SLOTS: Final = 16_384


def slot_of_tag(tag: str) -> int:
    """Return the slot of all keys with this hash tag."""
    return crc_hqx(tag.encode(), 0) % SLOTS


def slot_of_key(key: str) -> int:
    """Return the slot of a key: that of the text between its first braces, unless there is none."""
    start = key.find("{")
    end = key.find("}", start + 1) if start >= 0 else -1
    return slot_of_tag(key[start + 1 : end] if end > start + 1 else key)


def find_tag(name: str, fits: Callable[[int], bool]) -> str:
    """Return the first of `name0`, `name1`, … whose slot fits."""
    return next(tag for tag in (f"{name}{number}" for number in count()) if fits(slot_of_tag(tag)))
