"""Reads the field `message` of a form: `multipart/form-data` (RFC 7578), as pages send it, or URL-encoded."""

import re
from typing import Final
from urllib.parse import parse_qsl

from relay.model.errors import Refused

MAX_FRAME: Final = 8192
"""Bytes of a form besides its message: boundaries, headers of the fields, and other fields."""

MAX_FIELDS: Final = 16
_MAX_FIELD_HEAD: Final = 1024

_BOUNDARY: Final = re.compile(r"""boundary=(?:"([^"]{1,70})"|([!#-+\--:<-~]{1,70}))(?:\s*;|\s*\Z)""", re.IGNORECASE)
"""The parameter of the media type, quoted or plain, with 1 to 70 characters (RFC 2046, 5.1.1)."""

_IS_MESSAGE: Final = re.compile(
    rb"""^content-disposition:[ \t]*form-data;(?:.*;)?[ \t]*name="?message"?[ \t]*(?:;|\r|\Z)""",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD: Final = "message"


def read_message(content_type: str, body: bytes) -> bytes:
    """Return the text of the one field `message`; raises `Refused`: `bad_content_type` or `bad_body`."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        found = _in_parts(content_type, body)
    elif media_type == "application/x-www-form-urlencoded":
        found = _in_pairs(body)
    else:
        raise Refused("bad_content_type", "send a form (multipart/form-data) with the field message")
    if len(found) != 1:
        raise Refused("bad_body", f"the form has {len(found)} fields message; it must have one")
    return found[0]


def _in_parts(content_type: str, body: bytes) -> list[bytes]:
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise Refused("bad_body", "the media type names no boundary, or one of more than 70 characters")
    mark = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1")
    # The first boundary has no line end before it.
    first, *parts = (b"\r\n" + body).split(mark, MAX_FIELDS + 2)
    if len(parts) > MAX_FIELDS + 1:
        raise Refused("bad_body", f"the form has more than {MAX_FIELDS} fields")
    if first.strip() or len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise Refused("bad_body", "the form does not begin and end with its boundary")
    fields = [_field(part) for part in parts[:-1]]
    return [value for head, value in fields if _IS_MESSAGE.search(head)]


def _field(part: bytes) -> tuple[bytes, bytes]:
    """Return the head and the content of a part, which begins with the line end after its boundary."""
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n") or len(head) > _MAX_FIELD_HEAD:
        raise Refused("bad_body", f"a field of the form has no head, or one of more than {_MAX_FIELD_HEAD} bytes")
    return head, content


def _in_pairs(body: bytes) -> list[bytes]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refused("bad_body", f"the form is not UTF-8, or has more than {MAX_FIELDS} fields") from None
    return [value.encode() for name, value in pairs if name == _FIELD]
