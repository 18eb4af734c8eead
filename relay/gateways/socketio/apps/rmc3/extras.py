"""Extra data of users in member infos, so that other clients can look it up: `{"rmc": {"extra": …}}`."""

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from relay.model.errors import Refused
from relay.model.events import Present
from relay.model.member_info import read_info


class _Marked(Struct):
    extra: Raw = Raw(b"{}")


class _Info(Struct):
    rmc: _Marked | None = None


_info = msgspec.json.Decoder(_Info)


def member_info(extra: bytes) -> bytes:
    """Return the info of a member: none without extra data, or with some that is too large for an info."""
    if extra in (b"{}", b"null"):
        return b""
    try:
        return read_info(b'{"rmc":{"extra":%b}}' % extra)
    except Refused:
        return b""


def extra_of(members: Iterable[Present], peer: str) -> bytes | None:
    """Return the extra data of a member as JSON; `{}` for one without, None if there is no such member."""
    for member in members:
        if member.peer == peer:
            return read_extra_of(member.info)
    return None


def read_extra_of(info: bytes) -> bytes:
    """Return the extra data in a member info; `{}` if there is none."""
    try:
        found = _info.decode(info or b"{}")
    except msgspec.MsgspecError:
        return b"{}"
    return b"{}" if found.rmc is None else bytes(found.rmc.extra)
