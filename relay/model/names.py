"""Names of rooms and peers: any text outside, and inside an escaped name that needs no further escaping anywhere.

The escaped name, which is also the stored form, is the UTF-8 of the text with every byte percent-encoded (RFC 3986,
section 2.1, upper-case digits) that is not in `ALPHABET`: "a b" is `a%20b`, and "a%20b" is `a%2520b`. `%` is not in the
alphabet, so no two texts have the same escaped name, and a text of the alphabet is its own escaped name.

The alphabet is that of a URL path segment, without quotes, ampersand, comma and dollar sign. So an escaped name can be
written as it is: into a Redis key (no `{}`, the hash tag of a cluster), a log line (no control characters), a JSON
string (no quotes), a comma-separated list, and a URL path.

People, URLs and Socket.IO clients use the text. The native protocol, the bus, Redis, logs and
the HTTP API have the escaped name.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

from relay.model.errors import Refused

MAX_NAME: Final = 255
"""Characters (Unicode code points) of the text of a name."""

MAX_ESCAPED: Final = 2048
"""Bytes of an escaped name."""

SERVER: Final = "$server"
"""The sender of envelopes published over HTTP; no client can have this peer id, neither as text nor escaped."""

NO_MEMBER: Final = "$info"
"""The receiver of events in the form of a message that older workers must not deliver: no peer has this name."""

NOTICE: Final = "$room"
"""The receiver of room notices (`events.RoomNotice`), which have the form of a message for the same reason."""

TREE: Final = "$tree"
"""The receiver of changes of a room's tree that only clients of trees get; it has that form for the same reason."""

SHARED_TREE: Final = "$shared-tree"
"""The receiver of changes of a room's tree that are a message for all members, too."""

ALPHABET: Final = "letters, digits and - . _ ~ ! * ( ) + ; = : @"

CORE_WORDS: Final = frozenset(
    {"rooms", "subjects", "publish", "health", "metrics", "turn", "openapi.json", ".well-known"}
)
"""First segments of the paths that the relay serves to every client, with any gateways.

`relay.gateways.reserved_words` adds those of the gateways. The paths of pages are not among them: a room may be called
like a page, such as `demo`.
"""

_SAFE: Final = "-._~!*()+;=:@"
_is_plain: Final = re.compile(r"[A-Za-z0-9\-._~!*()+;=:@]+", re.ASCII).fullmatch
_BROKEN_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")

_FORBIDDEN: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffd]")
"""Control characters, half surrogate pairs, and the replacement character: it stands for text that was not UTF-8."""


def escape_room(text: str) -> str:
    """Return the escaped name of the room that `text` names; raise `Refused` (`bad_room`) if no room may be so named.

    Refused are the empty text, `.` and `..` (clients of HTTP take them out of a path), control characters, text that
    is not Unicode (half a surrogate pair, or U+FFFD, which decoders put in place of bytes that are not UTF-8), and
    text beyond `MAX_NAME` or `MAX_ESCAPED`.
    """
    if len(text) <= MAX_NAME and _is_plain(text) and text not in {".", ".."}:
        return text
    escaped = _escape(text)
    if escaped is None or text in {".", ".."}:
        raise Refused("bad_room", f"the room name {_problem(text)}")
    return escaped


def escaped_prefix(text: str) -> str:
    """Return the text with which the escaped names of all rooms begin whose names begin with this one; "" for all.

    Raises `Refused` (`bad_room`) if no room's name begins so.
    """
    return text and (escape_room(text) if text not in {".", ".."} else text)


def escape_peer(text: str) -> str:
    """Return the escaped name of the peer that `text` names; raise `Refused` (`bad_peer`) as `escape_room` does.

    `.` and `..` are allowed; `SERVER` is not.
    """
    if len(text) <= MAX_NAME and _is_plain(text):
        return text
    escaped = _escape(text)
    if escaped is None or text == SERVER:
        raise Refused("bad_peer", f"the peer id {_problem(text)}")
    return escaped


def unescape(name: str) -> str:
    """Return the text of an escaped name."""
    return unquote(name) if "%" in name else name


def check_room(name: str) -> str:
    """Return `name` if it is the escaped name of a room; else raise `Refused` (`bad_room`)."""
    if len(name) <= MAX_NAME and _is_plain(name) and name not in {".", ".."}:
        return name
    text = _text_of(name)
    if text is None or text in {".", ".."}:
        raise Refused("bad_room", f"the room name {_problem_in_json(name)}")
    return name


def check_peer(name: str) -> str:
    """Return `name` if it is the escaped name of a peer; else raise `Refused` (`bad_peer`)."""
    if len(name) <= MAX_NAME and _is_plain(name):
        return name
    text = _text_of(name)
    if text is None or text == SERVER:
        raise Refused("bad_peer", f"the peer id {_problem_in_json(name)}")
    return name


def percent_decoded(part: str) -> str:
    """Return the text of a percent-encoded part of a URL.

    U+FFFD stands for bytes that are not UTF-8, and for a `%` without two digits behind it, so that no name is made of
    them: `escape_room` and `escape_peer` refuse it.
    """
    return unquote(_BROKEN_ESCAPE.sub("\ufffd", part)) if "%" in part else part


def _escape(text: str) -> str | None:
    """Return the escaped name of a text that is within the bounds and has no forbidden character; else None."""
    if not 0 < len(text) <= MAX_NAME or _FORBIDDEN.search(text):
        return None
    escaped = quote(text, safe=_SAFE)
    return escaped if len(escaped) <= MAX_ESCAPED else None


def _text_of(name: str) -> str | None:
    """Return the text of an escaped name; None unless `name` is the one form in which `_escape` writes it."""
    if len(name) > MAX_ESCAPED:
        return None
    text = unescape(name)
    return text if _escape(text) == name else None


def _problem(text: str) -> str:
    """Say why a text is no name, and what to write instead."""
    found = _FORBIDDEN.search(text)
    if not text:
        return "is empty; write a name"
    if text in {".", "..", SERVER}:
        return f"is {text}, which no client may use; choose another"
    if len(text) > MAX_NAME:
        return f"has {len(text)} characters, and at most {MAX_NAME} are allowed; choose a shorter one"
    if found is None:
        return f"has more than {MAX_ESCAPED} bytes when it is percent-encoded; choose a shorter one"
    code, position = f"U+{ord(found[0]):04X}", found.start() + 1
    if found[0] == "\ufffd":
        return (
            f"has {code} as character {position}, which stands for bytes that are not UTF-8, or for a % without two "
            "hexadecimal digits; encode the name with encodeURIComponent, and write %25 for a %"
        )
    kind = "half a surrogate pair" if "\ud800" <= found[0] <= "\udfff" else "a control character"
    return f"has {code}, {kind}, as character {position}; take it out"


def _problem_in_json(name: str) -> str:
    """Say why a text is no escaped name, and what to write instead."""
    text = unescape(name)
    escaped = _escape(text)
    if escaped is None or text in {".", "..", SERVER}:
        return _problem(text)
    return f"is not in its escaped form: in JSON, all but {ALPHABET} is percent-encoded; write {escaped}"
