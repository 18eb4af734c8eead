"""Decoding the relay's frames."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from relay.model.json_text import FRAME_NESTING, nests_deeper

FrameFields = Mapping[str, Any]
"""A decoded frame; its fields may have any type."""

_MAX_DIGITS: Final = 600
"""Digits of an integer that stays exact. Python has a limit of its own, which its user may set as low as 640."""

_decoder = msgspec.json.Decoder(dict[str, Any])


class UnreadableFrame(Exception):
    """A frame is not a JSON object, or nests deeper than the relay allows."""


def decode_frame(data: bytes) -> FrameFields:
    """Decode one frame; raise `UnreadableFrame`.

    Members may send numbers that are valid JSON and too large for msgspec, such as `1e400`, or an integer of thousands
    of digits. Those go through the slower parser of the standard library, and become infinite where they do not fit.
    """
    if nests_deeper(data, FRAME_NESTING):
        raise UnreadableFrame("it nests too deep")
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        return _decode_slowly(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFrame(str(error)) from None


def _decode_slowly(data: bytes) -> FrameFields:
    try:
        frame = json.loads(data, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise UnreadableFrame(str(error)) from None
    if not isinstance(frame, dict):
        raise UnreadableFrame("it is not a JSON object")
    return frame


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
