"""Labels of channels: the text by which messages and subscriptions are compared.

Libraries of pages take any value for a channel: DataChannel.js the address of the page, others a number that
`Math.random()` made. A client compares the value in the message itself, which the relay does not change. For the relay,
a channel is the text that JavaScript makes of the value with `String(value)`, so that 7 and "7" are the same channel. A
label is never part of a name in Redis or in metrics.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from relay.model.errors import Refused

Label = str | int | float | bool
"""A value that names a channel. `null`, an object or an array in an envelope is no label: it names no channel."""

MAX_LABEL: Final = 2048
"""Bytes of a label in UTF-8."""

SHORT_LABEL: Final = MAX_LABEL // 4
"""Characters of text that is certainly short enough, as none has more than four bytes."""

_SMALL: Final = 1e-6
_LARGE: Final = 1e21
"""JavaScript writes numbers between these two without an exponent."""


def label(value: Label | None) -> str:
    """Return the channel that a value names, "" for None; raise `Refused` (`bad_envelope`) if it is too long."""
    # First, and without a call: nearly all channels are short text.
    if type(value) is str and len(value) <= SHORT_LABEL:
        return value
    text = "" if value is None else _text(value)
    size = len(text.encode())
    if size > MAX_LABEL:
        raise Refused(
            "bad_envelope",
            f"the channel has {size} bytes, and at most {MAX_LABEL} are relayed; take a shorter one, such as a hash of "
            "this one",
        )
    return text


def labels(values: Iterable[Label]) -> list[str]:
    """Return the channels that these values name; raises `Refused` as `label` does."""
    return [label(value) for value in values]


def _text(value: Label) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return _float_text(value) if isinstance(value, float) else str(value)
    except ValueError:
        raise Refused("bad_envelope", "the channel is a number of too many digits; take text") from None


def _float_text(value: float) -> str:
    """Return the text of a number as JavaScript writes it: Python begins exponents earlier, and pads them."""
    text = repr(value)
    if value == 0:
        return "0"
    if _SMALL <= abs(value) < _LARGE:
        return format(Decimal(text), "f").removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent):+d}"
