"""The beginning of a stream: it is opened, the client logs in, and a resource is bound (RFC 7395, RFC 6120).

open → features → auth → success → open → features → bind → result
"""

import base64
import binascii
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.codec import FramingFrame
from relay.gateways.xmpp.errors import BadStanza, XmppRefused
from relay.gateways.xmpp.jids import CONFERENCE, Jid, local_of, text_of
from relay.gateways.xmpp.namespaces import BIND, CLIENT, FRAMING, RELAY, SASL, SM, STREAMS
from relay.gateways.xmpp.reading import Element
from relay.gateways.xmpp.writing import escape_text, tag
from relay.model.codec import Frame
from relay.model.errors import RelayError

MAX_PASSWORD: Final = 16_384
"""Characters of the Base64 of SASL PLAIN, with a token."""

_MAX_RESOURCE: Final = 255
_UNAVAILABLE: Final = frozenset({"unavailable", "keys_unavailable", "too_many_attempts", "outcome_unknown"})


class Party(Protocol):
    """The session of the client."""

    def write(self, frame: Frame) -> None:
        """Write an element that is no stanza."""
        ...

    def random(self) -> str:
        """Return a name that no other has."""
        ...

    async def log_in(self, token: str) -> str:
        """Check the client's token, "" for none; return the subject of its token, "" for none."""
        ...

    def bound(self, jid: Jid) -> None:
        """Take note of the client's address: from now on, it sends stanzas."""
        ...

    async def resume(self, element: Element) -> None:
        """Resume a stream of the client, and answer."""
        ...

    @property
    def offers(self) -> str:
        """The features beside the resource of a client that has logged in, as XML."""
        ...


class Negotiation:
    """Takes the elements of one client until a resource is bound; `domain` is the one that the client asked for."""

    def __init__(self, party: Party) -> None:
        self._party = party
        self.domain = ""
        self.user = ""
        self._opened = False
        self.logged_in = False

    def take(self, element: Element) -> Coroutine[Any, Any, None] | None:
        """Take an element; returns work to wait for. Raises `BadStanza` for one that has no place here."""
        name = element.name, element.namespace
        if name == ("open", FRAMING):
            self._open(element)
        elif not self._opened:
            raise BadStanza("bad_stanza", "a stream begins with open", condition="not-authorized")
        elif name == ("auth", SASL) and not self.logged_in:
            return self._authenticate(element)
        elif name == ("resume", SM) and self.logged_in:
            return self._party.resume(element)
        elif name == ("iq", CLIENT) and self.logged_in and (bind := element.child("bind", BIND)):
            self._bind(element, bind)
        else:
            raise BadStanza(
                "bad_stanza", "log in and bind a resource before you send anything else", condition="not-authorized"
            )
        return None

    def _open(self, element: Element) -> None:
        if self._opened:
            raise BadStanza("bad_stanza", "the stream is open already", condition="bad-format")
        domain = element.get("to").lower() or self.domain or "localhost"
        if not _is_domain(domain):
            raise BadStanza("bad_jid", "open names a domain in to", condition="host-unknown")
        if self.domain and domain != self.domain:
            raise BadStanza("bad_jid", "the domain stays the same", condition="host-unknown")
        self.domain, self._opened = domain, True
        opened = {"xmlns": FRAMING, "from": domain, "id": self._party.random(), "version": "1.0", "xml:lang": "en"}
        self._party.write(FramingFrame(tag("open", opened).encode()))
        self._party.write(Frame(tag("stream:features", {"xmlns:stream": STREAMS}, self._features()).encode()))

    def _features(self) -> str:
        if self.logged_in:
            return tag("bind", {"xmlns": BIND}) + self._party.offers
        mechanisms = tag("mechanism", {}, "ANONYMOUS") + tag("mechanism", {}, "PLAIN")
        return tag("mechanisms", {"xmlns": SASL}, mechanisms)

    async def _authenticate(self, element: Element) -> None:
        try:
            user, token = read_credentials(element)
            subject = await self._party.log_in(token)
        except RelayError as error:
            self._party.write(Frame(_sasl_failure(error).encode()))
            raise
        self.user = local_of(subject) if subject else user or self._party.random()
        self.logged_in, self._opened = True, False
        self._party.write(Frame(tag("success", {"xmlns": SASL}).encode()))

    def _bind(self, element: Element, bind: Element) -> None:
        asked = bind.child("resource", BIND)
        resource = asked.text if asked is not None else ""
        if len(resource) > _MAX_RESOURCE:
            raise BadStanza("bad_stanza", f"a resource has at most {_MAX_RESOURCE} characters", about="iq")
        jid = Jid(self.user, self.domain, resource or self._party.random())
        address = f"{jid.local}@{jid.domain}/{jid.resource}"
        bound = tag("bind", {"xmlns": BIND}, tag("jid", {}, escape_text(address)))
        self._party.write(stanzas.result(element.get("id"), "", bound))
        self._party.bound(jid)


def _is_domain(text: str) -> bool:
    try:
        return Jid.parse(text) == ("", text, "") and not text.startswith(CONFERENCE)
    except XmppRefused:
        return False


def read_credentials(element: Element) -> tuple[str, str]:
    """Return the local part and the token of a request to log in, each "" for none.

    Raises `XmppRefused` (`bad_mechanism`) and `BadStanza` (`bad_stanza`). Without auth, any password is accepted.
    """
    mechanism = element.get("mechanism")
    if mechanism == "ANONYMOUS":
        return "", ""
    if mechanism != "PLAIN":
        raise XmppRefused("bad_mechanism")
    try:
        if len(element.text) > MAX_PASSWORD:
            raise ValueError
        # "=" stands for an initial response that is empty (RFC 6120, section 6.4.2).
        parts = base64.b64decode(element.text.strip().rstrip("=") + "==").decode().split("\0")
        _, user, password = parts
    except (ValueError, binascii.Error):
        raise XmppRefused("bad_stanza", "PLAIN is the Base64 of \\0USER\\0PASSWORD") from None
    # A local part has its escapes already; anything that is none becomes one.
    return local_of(text_of(user.partition("@")[0].lower()))[:1023], password


def _sasl_failure(error: RelayError) -> str:
    condition = "not-authorized"
    if error.code in _UNAVAILABLE:
        condition = "temporary-auth-failure"
    elif error.code == "bad_mechanism":
        condition = "invalid-mechanism"
    elif error.code == "bad_stanza":
        condition = "incorrect-encoding"
    elif error.code == "token_expired":
        condition = "credentials-expired"
    explained = tag("text", {"xml:lang": "en"}, escape_text(error.text)) + tag("code", {"xmlns": RELAY}, error.code)
    return tag("failure", {"xmlns": SASL}, tag(condition, {}) + explained)
