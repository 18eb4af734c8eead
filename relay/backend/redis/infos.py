"""Member infos in Redis: packed, because the fields of a presence entry are separated by spaces.

Spaces occur in the strings of an info alone. A control character, which no JSON text contains, stands for each of them.
"""

import logging

import msgspec
from msgspec import Raw

from relay.model.json_text import nests_deeper
from relay.model.member_info import MAX_INFO, MAX_INFO_NESTING

log = logging.getLogger("relay.backend.redis")

_objects = msgspec.json.Decoder(dict[str, Raw])


def pack(info: bytes) -> bytes:
    """Return an info in the form in which Redis has it."""
    return info.replace(b" ", b"\x1f")


def unpack(packed: bytes) -> bytes:
    """Undo `pack`. An info that no relay wrote, and that would break the frames it is put into, becomes b""."""
    if not packed:
        return b""
    info = packed.replace(b"\x1f", b" ")
    try:
        if len(info) <= MAX_INFO and not nests_deeper(info, MAX_INFO_NESTING):
            _objects.decode(info.decode())
            return info
    except ValueError:
        pass
    log.error("the info of a member in Redis is no JSON object that a relay wrote; it is left out: %r", info[:100])
    return b""
