"""Reads REGISTER requests, and writes the bindings of the answers (RFC 3261, section 10.3)."""

from dataclasses import dataclass
from typing import Final

from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import BadField, Uri, read_address, read_number, split_list, split_parameters
from relay.gateways.sip.location import SEPARATOR
from relay.gateways.sip.message import SipRequest
from relay.model.errors import Refused
from relay.model.names import escape_peer

SHORTEST: Final = 30
"""Seconds that a binding lasts at least."""

DEFAULT: Final = 600
"""Seconds where the client names none."""

MOST_USER: Final = 64
"""Characters of the name of a user."""

ALL: Final = "*"
"""The Contact of a REGISTER that removes all bindings (RFC 3261, section 10.2.2)."""

_MOST_CONTACT: Final = 1024
_WANTS: Final = "x-relay"
_MESSAGES: Final = "messages"


@dataclass(frozen=True, slots=True)
class SipRegistration:
    """The content of a REGISTER: `user` is text, and `peer` its escaped name.

    `contact` is None for a REGISTER that asks for the bindings alone, or removes all (`*`). `shown` is the contact
    without its time, as it was written. `seconds` is 0 for one that removes. `host` is the domain of the user.
    `hears`: the client asks for the messages of the room. `call` is the Call-ID.
    """

    user: str
    peer: str
    host: str
    contact: Uri | None
    shown: str
    seconds: int
    hears: bool
    call: str

    @property
    def removes_all(self) -> bool:
        """Whether it removes every binding of the connection (Contact: *)."""
        return self.shown == ALL

    def is_at(self, contact: Uri | None) -> bool:
        """Return whether it is for this contact."""
        return contact is not None and self.contact is not None and self.contact.place == contact.place

    @property
    def binding(self) -> str:
        """The Contact of an answer."""
        return f"{self.shown};expires={self.seconds}"


def read_registration(request: SipRequest, room: str, longest: int) -> SipRegistration:
    """Read a REGISTER for a room with this escaped name.

    Raises `SipRefused`: `bad_sip`, `wrong_from`, `too_many_bindings`, `too_brief`; and `Refused` (`bad_peer`).
    """
    user = request.to.uri.user
    if request.sender.uri.user != user:
        raise SipRefused("wrong_from", "a client registers itself: From and To of REGISTER have the same user")
    peer = _peer(user, room)
    try:
        contacts = [one for value in request.values("contact") for one in split_list(value)]
        seconds = _seconds(request.value("expires"))
        if contacts == [ALL]:
            if seconds != 0:
                raise BadField("Contact * needs Expires: 0")
            contact, shown = None, ALL
        elif len(contacts) > 1:
            raise SipRefused("too_many_bindings", "a connection has one binding; send one Contact")
        elif contacts:
            contact, shown, own = _read_contact(contacts[0])
            seconds = own if own is not None else seconds
        else:
            contact, shown = None, ""
    except BadField as error:
        raise SipRefused("bad_sip", str(error)) from None
    seconds = min(DEFAULT if seconds is None else seconds, longest)
    if 0 < seconds < SHORTEST and contact is not None:
        raise SipRefused("too_brief")
    hears = _MESSAGES in request.value(_WANTS).lower()
    return SipRegistration(user, peer, request.to.uri.host, contact, shown, seconds, hears, request.call)


def _peer(user: str, room: str) -> str:
    peer = escape_peer(user)
    if len(user) > MOST_USER or SEPARATOR in user or "*" in user:
        raise Refused("bad_peer", f"a SIP user has at most {MOST_USER} characters, without {SEPARATOR} and *")
    if peer == room:
        raise Refused("bad_peer", "this name is the room's: messages to it reach everybody")
    return peer


def _read_contact(text: str) -> tuple[Uri, str, int | None]:
    """Return the URI of a contact, the contact without its time, and its time."""
    address = read_address(text)
    if address.uri.scheme != "sip" or not address.uri.user or len(text) > _MOST_CONTACT:
        raise BadField("a Contact is a sip: URI with a user")
    shown, *parts = split_parameters(text)
    if not shown.endswith(">"):
        shown = f"<{shown}>"
    kept = [part for part in parts if part.partition("=")[0].strip().lower() != "expires"]
    return address.uri, ";".join((shown, *kept)), _seconds(address.parameters.get("expires", ""))


def _seconds(text: str) -> int | None:
    """Read a time; None for none. One that is no number, or too large, counts as the default (section 20.19)."""
    try:
        return read_number(text, 2**32 - 1)
    except BadField:
        return None
