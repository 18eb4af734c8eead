"""Reads fields of SIP messages (RFC 3261, section 25): URIs, addresses, Via, CSeq, credentials.

Every reader raises `BadField`, and takes a time that is linear in the length of the field.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

MOST_SEQUENCE: Final = 2**31 - 1
"""The greatest number of a CSeq (RFC 3261, section 8.1.1.5)."""

_TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"  # noqa: S105 - a token of the grammar
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_HOST: Final = r"\[[0-9A-Fa-f:.]{2,64}\]|[A-Za-z0-9\-._]{1,255}"

is_token: Final = re.compile(_TOKEN).fullmatch
_is_uri: Final = re.compile(r'[^\s<>"\x00-\x20\x7f]{1,2048}').fullmatch
_broken_escape: Final = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_scheme: Final = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*):").match
_is_place: Final = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?").fullmatch
_is_via: Final = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*(?P<transport>{_TOKEN})\s+(?P<host>{_HOST})\s*(?::\s*(?P<port>[0-9]{{1,5}}))?\s*(?P<rest>;.*)?",
    re.IGNORECASE | re.DOTALL,
).fullmatch
_is_sequence: Final = re.compile(rf"(?P<number>[0-9]{{1,20}})\s+(?P<method>{_TOKEN})").fullmatch
# A piece of a list: quoted text, an address in angle brackets, other text, or one of the separators.
_piece: Final = re.compile(rf"{_QUOTED}|<[^<>]*>|[^\"<>,;]+|[,;]", re.DOTALL).match
_credential: Final = re.compile(rf"\s*({_TOKEN})\s*=\s*({_QUOTED}|{_TOKEN})\s*(?:,|\Z)", re.DOTALL).match

Parameters = dict[str, str]
"""Lower-case name → value, "" for a parameter without one."""


class BadField(ValueError):
    """A field cannot be read; the text says why, without any part of the field."""


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI as it is written (`text`), and its parts; for schemes other than sip and sips, only the `scheme`.

    `user` is decoded, "" for none. `host` is in lower case. `port` is "" for none.
    """

    text: str
    scheme: str
    user: str = ""
    host: str = ""
    port: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """The parts by which two contacts are the same."""
        return self.user, self.host, self.port


@dataclass(frozen=True, slots=True)
class Address:
    """The URI and the parameters of a From, To, Contact or Route."""

    uri: Uri
    parameters: Parameters

    @property
    def tag(self) -> str:
        """The tag of a From or To; "" for none."""
        return self.parameters.get("tag", "")


@dataclass(frozen=True, slots=True)
class Via:
    """One value of a Via field; the parameter `branch` is "" where a client of RFC 2543 has none."""

    host: str
    port: str
    parameters: Parameters

    @property
    def branch(self) -> str:
        """The id of the transaction."""
        return self.parameters.get("branch", "")


@dataclass(frozen=True, slots=True)
class Sequence:
    """A CSeq."""

    number: int
    method: str


def read_uri(text: str) -> Uri:
    """Read a URI."""
    found = _scheme(text)
    if found is None or not _is_uri(text):
        raise BadField("not a URI")
    scheme = found[1].lower()
    if scheme not in ("sip", "sips"):
        return Uri(text, scheme)
    before, at, after = text[found.end() :].partition("@")
    user = before.partition(":")[0] if at else ""
    if at and (not user or _broken_escape(user)):
        raise BadField("not the user of a URI")
    place = _is_place(re.split("[;?]", after if at else before, maxsplit=1)[0])
    if place is None:
        raise BadField("not the host of a URI")
    return Uri(text, scheme, unquote(user, errors="replace"), place["host"].lower(), place["port"] or "")


def split_list(text: str) -> list[str]:
    """Split a field at its commas, except for those in quotes and angle brackets."""
    return _split(text, ",")


def split_parameters(text: str) -> list[str]:
    """Split a field at its semicolons in the same way: the address, and each parameter as it is written."""
    return _split(text, ";")


def read_address(text: str) -> Address:
    """Read the one address of a field: `"NAME" <URI>;PARAMETERS`, or `URI;PARAMETERS`."""
    first, *rest = split_parameters(text)
    shown, bracket, inner = first.rpartition("<")
    if bracket:
        uri, end, after = inner.partition(">")
        if not end or after.strip() or not _is_name(shown.strip()):
            raise BadField("not an address")
    else:
        uri = first.strip()
        if "?" in uri or "," in uri:
            raise BadField("an address with headers or a comma has angle brackets")
    return Address(read_uri(uri), _read_parameters(rest))


def read_via(text: str) -> Via:
    """Read one value of a Via field."""
    found = _is_via(text)
    if found is None:
        raise BadField("not a Via")
    return Via(found["host"].lower(), found["port"] or "", _read_parameters(_split(found["rest"] or "", ";")[1:]))


def read_sequence(text: str) -> Sequence:
    """Read a CSeq."""
    found = _is_sequence(text)
    if found is None or int(found["number"]) > MOST_SEQUENCE:
        raise BadField("not a CSeq")
    return Sequence(int(found["number"]), found["method"])


def read_number(text: str, most: int) -> int:
    """Read a whole number of at most so much."""
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > most:
        raise BadField("not a number in its bounds")
    return int(text)


def read_credentials(text: str) -> tuple[str, str, Parameters]:
    """Return the scheme of credentials in lower case, all that follows it, and its parameters if it has some."""
    scheme, _, rest = text.partition(" ")
    parameters: Parameters = {}
    position = 0
    while found := _credential(rest, position):
        parameters.setdefault(found[1].lower(), _unquote(found[2]))
        position = found.end()
    return scheme.lower(), rest.strip(), parameters if position == len(rest) else {}


def _split(text: str, separator: str) -> list[str]:
    parts, part, position = [], "", 0
    while position < len(text):
        found = _piece(text, position)
        if found is None:
            raise BadField("unbalanced quotes or brackets")
        position = found.end()
        if found[0] == separator:
            parts.append(part.strip())
            part = ""
        else:
            part += found[0]
    return [*parts, part.strip()]


def _is_name(text: str) -> bool:
    """Whether a text may stand in front of an address in angle brackets: in quotes, or words."""
    if text.startswith('"'):
        return re.fullmatch(_QUOTED, text, re.DOTALL) is not None
    return all(is_token(word) for word in text.split())


def _read_parameters(parts: list[str]) -> Parameters:
    parameters: Parameters = {}
    for part in parts:
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if not is_token(name):
            raise BadField("not a parameter")
        parameters.setdefault(name, _unquote(value.strip()))
    return parameters


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith('"') else text
