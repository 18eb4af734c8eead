"""Keys of children as `push()` makes them: they sort by the time at which they were made."""

from typing import Final

from relay.model.envelope import MessageId

_DIGITS: Final = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def push_id(message: MessageId, now: float) -> str:
    """Return the key for a message of another protocol that arrived at this Unix time (s).

    Its second part is made of the message's id, so that no two messages have the same key.
    """
    return _digits(int(now * 1000), 8) + _digits(message.epoch, 6) + _digits(message.seq, 6)


def new_push_id(now: float, random: bytes) -> str:
    """Return a new key, at this Unix time (s); `random` are 9 random bytes."""
    return _digits(int(now * 1000), 8) + _digits(int.from_bytes(random), 12)


def _digits(number: int, count: int) -> str:
    found = ""
    for _ in range(count):
        number, digit = divmod(number, 64)
        found = _DIGITS[digit] + found
    return found
