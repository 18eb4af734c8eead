"""Text messages between SIP clients and the members of all protocols.

A MESSAGE to the name of the room is an envelope to everybody in it, and one to a member that is no SIP client is a
direct envelope. A body of the type application/json is the envelope itself; any other body is its `message`, as text.
In the other direction, an envelope is a MESSAGE with that type.
"""

from typing import Final
from urllib.parse import quote

import msgspec

from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.message import SipMessage, SipRequest, request
from relay.gateways.sip.via import MAGIC, SENT_BY
from relay.model.commands import Publish
from relay.model.envelope import read_envelope
from relay.model.errors import BadFrame
from relay.model.events import Message
from relay.model.json_text import read_leniently
from relay.model.names import unescape

BRANCH: Final = f"{MAGIC}room-"
"""The first characters of the branch of such a MESSAGE: its response ends at the relay."""

_JSON: Final = "application/json"
_SAFE_USER: Final = "-_.!~*'()&=+$,/?"
_encode: Final = msgspec.json.Encoder().encode


def read_text(message: SipRequest, to: str = "") -> Publish:
    """Return the command that publishes a MESSAGE: to the room, or to the peer `to`. Raises `Refused`."""
    if message.value("content-type").partition(";")[0].strip().lower() != _JSON:
        return _envelope(b'{"message":%b}' % _encode(message.body.decode()), to)
    return read_leniently(lambda text: _envelope(text, to), message.body.strip(b" \t\r\n"))


def answers_room(data: bytes) -> bool:
    """Return whether a frame is the response to a MESSAGE that the relay has made of an envelope."""
    return data.startswith(b"SIP/2.0 ") and f"branch={BRANCH}".encode() in data[:1024]


def write_text(event: Message, contact: str, user: str, host: str) -> SipRequest:
    """Make a MESSAGE of an envelope, for the client with this contact; `user` and `host` are its own."""
    sender = quote(unescape(event.sender), safe=_SAFE_USER)
    fields = (
        ("Via", f"SIP/2.0/WS {SENT_BY};branch={BRANCH}{event.id}"),
        ("Max-Forwards", "70"),
        ("From", f"<sip:{sender}@{host}>;tag={event.id}"),
        ("To", f"<sip:{quote(user, safe=_SAFE_USER)}@{host}>"),
        ("Call-ID", f"{event.id}@{SENT_BY}"),
        ("CSeq", "1 MESSAGE"),
        ("Content-Type", _JSON),
    )
    return request("MESSAGE", contact, fields, event.body + b"}")


def check_text(message: SipMessage) -> None:
    """Raise `SipRefused` (`no_text`) for a body that is not UTF-8, which no envelope can carry."""
    try:
        message.body.decode()
    except UnicodeDecodeError:
        raise SipRefused("no_text") from None


def _envelope(text: bytes, to: str) -> Publish:
    """Read an envelope; give it its receiver, if there is one."""
    found = read_envelope(text)
    if not to:
        return found
    if found.to:
        raise BadFrame("bad_envelope", "the receiver of a MESSAGE is in its URI; leave out to, or send to the room")
    rest = text[1:].lstrip(b" \t\r\n")
    comma = b"" if rest == b"}" else b","
    return read_envelope(b'{"to":"%b"%b%b' % (to.encode("ascii"), comma, rest))
