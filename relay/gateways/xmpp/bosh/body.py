"""The element `body`, of which each request and each response has one (XEP-0124, section 5); no I/O."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from relay.gateways.base.http import HttpBody
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.xmpp.errors import XmppRefused
from relay.gateways.xmpp.namespaces import BOSH, HTTP_BIND, RELAY, STREAMS
from relay.gateways.xmpp.reading import BadXml, Element, read
from relay.gateways.xmpp.writing import escape_text, tag
from relay.model.codec import Frame

XML: Final = b"text/xml; charset=utf-8"

MAX_RID: Final = 9_007_199_254_740_991
"""The largest request id (XEP-0124, section 14.1)."""

_DECLARATION: Final = re.compile(rb"\s*<\?xml\s[^<>]{0,200}\?>\s*")
_DIGITS: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_STREAM_ERROR: Final = b"<stream:error"


class RequestBody(NamedTuple):
    """The element of a request; `sid` is "" in the first one of a session.

    `payloads` are the elements in it, each as XML by itself. `pause` is in seconds, None for a request without a pause.
    `digest` tells an exact copy from another request.
    """

    rid: int
    sid: str
    to: str
    wait: int
    hold: int
    ends: bool
    restarts: bool
    pause: int | None
    key: str
    new_key: str
    payloads: Sequence[bytes]
    digest: bytes


def read_request(data: bytes) -> RequestBody:
    """Read the body of a request, whose size the caller has bounded; raises `XmppRefused` (`bad_xml`, `bad_bosh`)."""
    declaration = _DECLARATION.match(data)
    try:
        document = read(data[declaration.end() :] if declaration else data)
    except BadXml as error:
        raise XmppRefused("bad_xml", str(error)) from None
    root = document.root
    rid = _number(root, "rid", 0)
    if root.name != "body" or root.text.strip() or not 0 < rid <= MAX_RID:
        raise XmppRefused("bad_bosh")
    return RequestBody(
        rid,
        root.get("sid"),
        root.get("to"),
        _number(root, "wait", 60),
        _number(root, "hold", 1),
        root.get("type") == "terminate",
        root.get(f"{BOSH} restart") in {"true", "1"},
        _number(root, "pause", 0) if root.get("pause") else None,
        root.get("key"),
        root.get("newkey"),
        [document.source(child).encode() for child in root.children],
        sha256(data).digest(),
    )


def _number(element: Element, name: str, otherwise: int) -> int:
    text = element.get(name)
    if not text:
        return otherwise
    if not _DIGITS.fullmatch(text):
        raise XmppRefused("bad_bosh")
    return int(text)


class BodyWriter:
    """Writes the responses to one client; `greeting` are attributes of the one to its first request, `rid`."""

    __slots__ = ("_greeting", "_rid")

    def __init__(self, rid: int, greeting: Mapping[str, str]) -> None:
        self._rid = str(rid)
        self._greeting = greeting

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the elements that wait; at the end of the session, with the reason."""
        attributes = dict(self._greeting) if answer.token == self._rid else {}
        if answer.closed is not None:
            failed = any(frame.data.startswith(_STREAM_ERROR) for frame in answer.frames)
            attributes |= {"type": "terminate", "condition": "remote-stream-error" if failed else ""}
        return response(b"".join([frame.data for frame in answer.frames]), attributes)

    def posted(self, replies: Sequence[Frame]) -> HttpBody:
        """Write an empty response: `answer` has the elements that answer a request."""
        return response()


def response(content: bytes = b"", attributes: Mapping[str, str] | None = None, status: int = 200) -> HttpBody:
    """Write the body of a response around elements."""
    head, tail = tag("body", {"xmlns": HTTP_BIND} | dict(attributes or {}), "\0").split("\0")
    return HttpBody(head.encode() + content + tail.encode(), XML, status)


def greeting(
    sid: str, domain: str, *, wait: int, hold: int, inactivity: int, pause: int, requests: int
) -> dict[str, str]:
    """Return the attributes of the response that begins a session (XEP-0124, section 7.2; XEP-0206, section 3)."""
    return {
        "xmlns:xmpp": BOSH,
        "xmlns:stream": STREAMS,
        "sid": sid,
        "from": domain,
        "ver": "1.6",
        "wait": str(wait),
        "hold": str(hold),
        "requests": str(requests),
        "inactivity": str(inactivity),
        "maxpause": str(pause),
        "xmpp:version": "1.0",
        "xmpp:restartlogic": "true",
    }


def terminated(condition: str, code: str = "", text: str = "", status: int = 200) -> HttpBody:
    """Write the end of a session (XEP-0124, section 17.2), with the relay's own code."""
    explained = tag("text", {"xmlns": RELAY}, escape_text(text)) + tag("code", {"xmlns": RELAY}, escape_text(code))
    return response(explained.encode() if code else b"", {"type": "terminate", "condition": condition}, status)
