"""The errors of the gateway: its own codes, and the status of each code in a response."""

from collections.abc import Mapping
from typing import ClassVar, Final

from relay.model.errors import ERRORS, ErrorTable, Refused

SIP_ERRORS: Final[ErrorTable] = {
    "bad_sip": (400, "the message is not as RFC 3261 has it; the text names the field"),
    "bad_challenge": (401, "the user, the password, or the nonce of the answer to the challenge is wrong or too old"),
    "wrong_from": (403, "the From of a request has another user than the one that this connection has registered"),
    "not_registered": (403, "this connection has no binding; send REGISTER first"),
    "contact_taken": (403, "another user has registered this Contact; take a Contact with a random user"),
    "too_many_bindings": (403, "the user has as many bindings as it may have, or this connection has one already"),
    "no_such_user": (404, "nobody has registered this user in the room"),
    "sip_method_unknown": (405, "the relay does not serve this method itself; it forwards it to a user"),
    "no_text": (415, "the relay carries text: a body is UTF-8"),
    "bad_scheme": (416, "the relay serves sip: URIs alone"),
    "bad_extension": (420, "the request needs an extension that the relay does not have; Unsupported names it"),
    "too_brief": (423, "a binding lasts for at least as long as Min-Expires says"),
    "no_such_transaction": (481, "the relay knows no request that this CANCEL belongs to"),
    "loop": (482, "the request comes back to its sender, or has been forwarded by this relay before"),
    "too_many_hops": (483, "Max-Forwards has come to 0"),
    "no_answer": (408, "the callee did not answer in time"),
    "no_event_package": (489, "the relay has no event packages; it forwards subscriptions to a user"),
    "too_many_transactions": (
        503,
        "this client has as many requests without an answer as it may have",
    ),
    "bad_sip_version": (505, "the relay speaks SIP/2.0"),
}
"""Error code → (SIP status, meaning)."""


class SipRefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **SIP_ERRORS}


_STATUS: Final[Mapping[str, int]] = {
    "token_required": 401, "bad_token": 401, "token_expired": 401, "token_not_yet_valid": 401,
    "no_such_peer": 480, "too_large": 513, "outcome_unknown": 504, "internal": 500,
    "peer_taken": 403, "superseded": 403, "room_full": 503, "too_many_places": 503,
}  # fmt: skip

REASONS: Final[Mapping[int, str]] = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    487: "Request Terminated",
    489: "Bad Event",
    500: "Server Internal Error",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
}
"""Status → reason phrase (RFC 3261, section 21)."""

RETRY_AFTER: Final = 2
"""Seconds in the Retry-After of a response 503."""


def status_of(code: str) -> int:
    """Return the status of the response to a request that failed with this code."""
    if code in SIP_ERRORS:
        return SIP_ERRORS[code][0]
    if code in _STATUS:
        return _STATUS[code]
    found = ERRORS[code][0]
    if found in (429, 503):
        return 503
    return found if found in REASONS else 403
