"""Member info: a small JSON object that a member shows to the other members of its room, such as a name or a status.

Inside the relay it is JSON text in one form: read once, where it came in, and written again without white space between
values. So a codec can put it into a frame as it is. b"" stands for no info.
"""

from typing import Any, Final

import msgspec

from relay.model.errors import Refused
from relay.model.json_text import nests_deeper, without_lone_surrogates

MAX_INFO: Final = 1024
"""Bytes of one member's info."""

MAX_INFO_NESTING: Final = 16
"""Levels of arrays and objects in it; `{}` has one."""

INFO_RATE: Final = 1.0
INFO_BURST: Final = 5.0
"""Changes of its info that a member may make a second on average, and at once: each goes to all watchers."""

_objects: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(dict[str, Any] | None)


def read_info(text: bytes) -> bytes:
    """Return a JSON object in the form that the relay uses, or b"" for `null`.

    Raises `Refused` (`bad_info`) for anything else, and for an object that is too large or nests too deep.
    """
    if nests_deeper(text, MAX_INFO_NESTING):
        raise Refused("bad_info", f"info nests more than {MAX_INFO_NESTING} levels deep")
    try:
        fields = _decode(text)
    except ValueError as error:
        raise Refused("bad_info", f"info is a JSON object: {error}") from None
    info = b"" if fields is None else msgspec.json.encode(fields)
    if len(info) > MAX_INFO:
        raise Refused("bad_info", f"info has {len(info)} bytes; at most {MAX_INFO}")
    return info


def _decode(text: bytes) -> dict[str, Any] | None:
    try:
        return _objects.decode(text)
    except ValueError:
        repaired = without_lone_surrogates(text)
        if repaired == text:
            raise
    return _objects.decode(repaired)
