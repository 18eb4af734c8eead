r"""Addresses: `LOCAL@DOMAIN/RESOURCE` (RFC 7622), and the local parts that stand for rooms and subjects.

Local parts are case-folded, and cannot have all characters. So each character that a local part cannot have, or that
would change, is written as the bytes of its UTF-8 in hexadecimal, `\20` for a space and `\52` for an R. For the
characters of XEP-0106, that is the form of XEP-0106.
"""

import re
import unicodedata
from typing import Final, NamedTuple, Self

from relay.gateways.xmpp.errors import XmppRefused
from relay.model.names import escape_peer, escape_room, unescape

_MAX_PART: Final = 1023
"""Bytes of each part of an address."""

_PLAIN: Final = re.compile(r"[a-z0-9!#$%()*+,\-.;=?\[\]^_`{|}~]+", re.ASCII)
_ESCAPE: Final = re.compile(r"(?:\\[0-9a-f]{2})+")
_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.\-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]", re.ASCII)
CONFERENCE: Final = "conference."


class Jid(NamedTuple):
    """An address; `local` and `resource` are "" where it has none."""

    local: str
    domain: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address, with its local part and domain in lower case; raises `Refused` (`bad_jid`)."""
        bare, _, resource = text.partition("/")
        local, at, domain = bare.rpartition("@")
        domain = domain.lower()
        too_long = any(len(part.encode()) > _MAX_PART for part in (local, resource))
        if not _DOMAIN.fullmatch(domain) or (at and not local) or too_long:
            raise XmppRefused("bad_jid")
        return cls(local.lower(), domain, resource)


def local_of(text: str) -> str:
    """Return the local part that stands for a text."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join([char if _is_plain(char) else _hexadecimal(char) for char in text])


def text_of(local: str) -> str:
    """Return the text for which a local part stands; U+FFFD for bytes that are not UTF-8."""

    def decoded(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace("\\", "")).decode(errors="replace")

    return _ESCAPE.sub(decoded, local)


def room_of(local: str) -> str:
    """Return the escaped name of the room for which a local part stands; raises `Refused` (`bad_room`)."""
    return escape_room(text_of(local))


def local_of_room(room: str) -> str:
    """Return the local part that stands for a room with this escaped name."""
    return local_of(unescape(room))


def peer_of(nick: str) -> str:
    """Return the escaped peer id of a nick; raises `Refused` (`bad_peer`)."""
    return escape_peer(nick)


def nick_of(peer: str) -> str:
    """Return the nick of a member with this escaped peer id."""
    return unescape(peer)


def _is_plain(char: str) -> bool:
    if char.isascii():
        return bool(_PLAIN.fullmatch(char))
    return char.lower() == char and unicodedata.normalize("NFKC", char) == char and not char.isspace()


def _hexadecimal(char: str) -> str:
    return "".join([f"\\{byte:02x}" for byte in char.encode()])
