"""Makes the messages that the relay sends itself: responses, and the requests CANCEL and ACK of a proxy."""

import hashlib
from collections.abc import Iterable
from typing import Final

from relay.gateways.sip.errors import REASONS, RETRY_AFTER, status_of
from relay.gateways.sip.fields import BadField
from relay.gateways.sip.message import Field, SipMessage, SipRequest, SipResponse, new_field, request, response
from relay.model.errors import RelayError

ALLOWED: Final = "INVITE, ACK, CANCEL, BYE, UPDATE, INFO, MESSAGE, OPTIONS, REFER, NOTIFY, PRACK, SUBSCRIBE, REGISTER"
"""The methods that the relay serves or forwards."""

ERROR_FIELD: Final = "X-Relay-Error"
"""The field of a response that has the code of an error of the relay."""

_COPIED: Final = ("via", "from", "call-id", "cseq")
_TAG_BYTES: Final = 8


def reply(to: SipRequest, status: int, more: Iterable[tuple[str, str]] = ()) -> SipResponse:
    """Answer a request: with its Via, From, To, Call-ID and CSeq as they were written, and these fields.

    The To gets a tag, the same one for the same request, unless the status is 100.
    """
    fields = [field for field in to.fields if field.name in _COPIED]
    fields += [_tagged(to, field) if status > 100 else field for field in to.fields if field.name == "to"]
    added = [new_field(name, value) for name, value in more]
    return response(status, REASONS[status], [*fields, *added])


def refusal(to: SipRequest, error: RelayError, more: Iterable[tuple[str, str]] = ()) -> SipResponse:
    """Answer a request that failed; a field has the code, and a Warning the text."""
    status = status_of(error.code)
    retry = [("Retry-After", str(RETRY_AFTER))] if status == 503 else []
    text = error.text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    warning = ("Warning", f'399 relay "{text}"')
    return reply(to, status, [*more, *retry, (ERROR_FIELD, error.code), warning])


def cancel(forwarded: SipRequest, reasons: Iterable[str]) -> SipRequest:
    """Make the CANCEL for a request that was forwarded; `reasons` are the values of Reason fields."""
    return _about(forwarded, "CANCEL", forwarded.value("to"), reasons)


def acknowledgement(forwarded: SipRequest, refused: SipResponse) -> SipRequest:
    """Make the ACK for a final response other than 2xx to an INVITE that was forwarded (RFC 3261, section 17.1.1.3)."""
    return _about(forwarded, "ACK", refused.value("to"), ())


def late_acknowledgement(refused: SipResponse) -> SipRequest:
    """Make the ACK for such a response where the INVITE is not known any more; the callee's worker knows its URI."""
    return _make("ACK", refused.to.uri.text, refused, refused.value("to"), ())


def _about(forwarded: SipRequest, method: str, to: str, reasons: Iterable[str]) -> SipRequest:
    return _make(method, forwarded.uri.text, forwarded, to, reasons)


def _make(method: str, uri: str, like: SipMessage, to: str, reasons: Iterable[str]) -> SipRequest:
    fields = [
        ("Via", like.value("via").partition(",")[0]),
        ("Max-Forwards", "70"),
        ("From", like.value("from")),
        ("To", to),
        ("Call-ID", like.call),
        ("CSeq", f"{like.sequence.number} {method}"),
        *[("Reason", reason) for reason in reasons],
    ]
    return request(method, uri, fields)


def _tagged(to: SipRequest, field: Field) -> Field:
    try:
        if to.to.tag:
            return field
    except BadField:
        return field
    parts = (field.value, to.call, to.value("via"), to.value("cseq"))
    tag = hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=_TAG_BYTES).hexdigest()
    return new_field("To", f"{field.value};tag={tag}")
