"""The errors of the gateway, and the words that XMPP has for those of the relay."""

from typing import ClassVar, Final

from relay.gateways.xmpp.namespaces import RELAY, STANZA_ERRORS, STREAM_ERRORS, STREAMS
from relay.gateways.xmpp.writing import escape_text, tag
from relay.model.errors import ERRORS, BadFrame, CloseReason, ErrorTable, Refused

XMPP_ERRORS: Final[ErrorTable] = {
    "bad_xml": (
        400,
        "the frame is not one well-formed XML element; or it has a document type, an entity, a comment, a processing "
        "instruction, or more levels, elements or attributes than the relay reads",
    ),
    "bad_stanza": (400, "the stanza is not one that XMPP has here; the text names the fault"),
    "bad_bosh": (400, "a request over BOSH is one element body, with a rid; numbers are whole, and it has no text"),
    "bad_jid": (400, "an address is LOCAL@DOMAIN/RESOURCE, and that of a room ROOM@conference.DOMAIN"),
    "unknown_domain": (404, "the relay serves its own domain and the rooms of conference.DOMAIN, and nothing else"),
    "not_served": (501, "the relay has no answer to this IQ"),
    "bad_mechanism": (400, "the relay knows the SASL mechanisms ANONYMOUS and PLAIN; the password of PLAIN is a token"),
    "login_timeout": (408, "the client did not log in and bind a resource in time"),
}
"""Error code → (HTTP status, meaning)."""


class XmppRefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **XMPP_ERRORS}


class BadStanza(BadFrame):
    """A frame that the gateway cannot read. With a `condition`, the stream ends with that error."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **XMPP_ERRORS}

    def __init__(self, code: str, text: str = "", *, condition: str = "", about: str = "", key: str = "") -> None:
        super().__init__(code, text, about=about, key=key)
        self.condition = condition


_CONDITIONS: Final = {
    "peer_taken": ("cancel", "conflict"),
    "already_joined": ("cancel", "conflict"),
    "superseded": ("wait", "conflict"),
    "room_full": ("wait", "service-unavailable"),
    "too_many_places": ("wait", "service-unavailable"),
    "password_required": ("auth", "not-authorized"),
    "bad_password": ("auth", "not-authorized"),
    "token_required": ("auth", "not-authorized"),
    "banned": ("auth", "forbidden"),
    "not_granted": ("auth", "forbidden"),
    "not_owner": ("auth", "forbidden"),
    "forbidden": ("auth", "forbidden"),
    "room_locked": ("auth", "registration-required"),
    "wrong_peer": ("modify", "not-acceptable"),
    "not_joined": ("modify", "not-acceptable"),
    "no_such_room": ("cancel", "item-not-found"),
    "no_such_peer": ("cancel", "item-not-found"),
    "unknown_domain": ("cancel", "remote-server-not-found"),
    "not_served": ("cancel", "service-unavailable"),
    "bad_room": ("modify", "jid-malformed"),
    "bad_peer": ("modify", "jid-malformed"),
    "bad_jid": ("modify", "jid-malformed"),
    "bad_json": ("modify", "bad-request"),
    "bad_envelope": ("modify", "bad-request"),
    "reserved_field": ("modify", "bad-request"),
    "bad_stanza": ("modify", "bad-request"),
    "too_large": ("modify", "policy-violation"),
    "too_fast": ("wait", "policy-violation"),
    "too_many_attempts": ("wait", "policy-violation"),
    "too_many_rooms": ("wait", "resource-constraint"),
    "too_many_new_rooms": ("wait", "resource-constraint"),
    "memory_low": ("wait", "resource-constraint"),
    "unavailable": ("wait", "internal-server-error"),
    "outcome_unknown": ("wait", "remote-server-timeout"),
    "messages_lost": ("wait", "recipient-unavailable"),
    "internal": ("cancel", "internal-server-error"),
}
"""Error code → type and condition of a stanza error (RFC 6120, section 8.3.3)."""

_OF_CLOSES: Final = {
    "normal": "reset",
    "going_away": "system-shutdown",
    "replaced": "conflict",
    "superseded": "conflict",
    "slow": "policy-violation",
    "too_fast": "policy-violation",
    "too_large": "policy-violation",
    "bad_packet": "not-well-formed",
    "bad_request": "policy-violation",
    "pong_timeout": "connection-timeout",
    "token_expired": "not-authorized",
    "token_refused": "not-authorized",
    "not_admitted": "not-authorized",
    "internal": "internal-server-error",
    "unavailable": "internal-server-error",
}
"""Name of a close reason → condition of a stream error (RFC 6120, section 4.9.3)."""


def stanza_error(code: str, text: str) -> str:
    """Write the child `<error/>` of a stanza, with the relay's own code beside the condition of XMPP."""
    kind, condition = _CONDITIONS.get(code, ("cancel", "undefined-condition"))
    return tag("error", {"type": kind}, _described(condition, code, text, STANZA_ERRORS))


def stream_error(reason: CloseReason, *, condition: str = "", code: str = "", text: str = "") -> str:
    """Write the error with which the relay ends a stream; without a `code`, that is the name of the reason."""
    condition = condition or _OF_CLOSES.get(reason.name, "undefined-condition")
    described = _described(condition, code or reason.name, text or reason.text, STREAM_ERRORS)
    return tag("stream:error", {"xmlns:stream": STREAMS}, described)


def _described(condition: str, code: str, text: str, namespace: str) -> str:
    explained = tag("text", {"xmlns": namespace, "xml:lang": "en"}, escape_text(text))
    return tag(condition, {"xmlns": namespace}) + explained + tag("code", {"xmlns": RELAY}, escape_text(code))
