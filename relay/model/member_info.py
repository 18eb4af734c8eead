"""Member info: a small JSON object that a member shows to the other members of its room, such as a name or a status.

Inside the relay it is JSON text in one form: read once, where it came in, and written again without white space between
values. So a codec can put it into a frame as it is. b"" stands for no info.

The field `$token` is the relay's: it has the claim `info` of the member's token. No client can write it, so
the others can rely on it, in every protocol that shows infos.
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

MAX_VOUCHED: Final = 512
"""Bytes of the part for which a member's token vouches; they count in `MAX_INFO`."""

VOUCHED: Final = "$token"
"""The field of a member info that only the relay writes: the info for which the member's token vouches."""

_VOUCHED_KEY: Final = b'"$token":'
_NOT_VOUCHED: Final = (
    f'the field "{VOUCHED}" of an info is only for the claim of a token about its holder; leave it out'
)

_objects: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(dict[str, Any] | None)


def read_info(text: bytes) -> bytes:
    """Return a JSON object in the form that the relay uses, or b"" for `null`.

    Raises `Refused` (`bad_info`) for anything else, for an object that is too large or nests too deep, and for one that
    has the field of tokens.
    """
    return _read(text, MAX_INFO, MAX_INFO_NESTING)


def read_vouched(text: bytes) -> bytes:
    """Return the info for which a token vouches, as `read_info` does, but with less room."""
    return _read(text, MAX_VOUCHED, MAX_INFO_NESTING - 1)


def _read(text: bytes, most: int, deepest: int) -> bytes:
    if nests_deeper(text, deepest):
        raise Refused("bad_info", f"info nests more than {deepest} levels deep")
    try:
        fields = _decode(text)
    except ValueError as error:
        raise Refused("bad_info", f"info is a JSON object: {error}") from None
    if fields is not None and VOUCHED in fields:
        raise Refused("bad_info", _NOT_VOUCHED)
    info = b"" if fields is None else msgspec.json.encode(fields)
    if len(info) > most:
        raise Refused("bad_info", f"info has {len(info)} bytes; at most {most}")
    return info


def vouch(info: bytes, vouched: bytes) -> bytes:
    """Return an info with the one for which the member's token vouches, b"" for none, in place of an earlier one.

    Raises `Refused` (`bad_info`) if both together are too large: the bound on infos counts the info that others see.
    """
    own = without_vouched(info)
    if not vouched:
        return own
    rest = own[1:] if own not in (b"", b"{}") else b"}"
    both = b"{%b%b%b%b" % (_VOUCHED_KEY, vouched, b"" if rest == b"}" else b",", rest)
    if len(both) > MAX_INFO:
        most = MAX_INFO - len(vouched) - len(_VOUCHED_KEY) - 1
        raise Refused("bad_info", f"info has {len(own)} bytes; beside the info of the token, at most {max(0, most)}")
    return both


def without_vouched(info: bytes) -> bytes:
    """Return the part of an info that the member has given itself; b"" for none."""
    if _VOUCHED_KEY not in info:
        return info
    fields = msgspec.json.decode(info, type=dict[str, msgspec.Raw])
    if fields.pop(VOUCHED, None) is None:
        return info
    return msgspec.json.encode(fields) if fields else b""


def vouched_part(info: bytes) -> bytes:
    """Return the part of an info for which the member's token vouches, b"" for none."""
    if _VOUCHED_KEY not in info:
        return b""
    return bytes(msgspec.json.decode(info, type=dict[str, msgspec.Raw]).get(VOUCHED, b""))


def _decode(text: bytes) -> dict[str, Any] | None:
    try:
        return _objects.decode(text)
    except ValueError:
        repaired = without_lone_surrogates(text)
        if repaired == text:
            raise
    return _objects.decode(repaired)
