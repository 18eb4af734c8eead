"""The form of a token: a JSON Web Token in the compact serialization (RFC 7519, RFC 7515)."""

import re
from typing import Final

from relay.model.errors import Refused

MAX_TOKEN: Final = 8192
"""Bytes of a token."""

REFUSAL: Final = "the token is not valid: "
"""The beginning of the texts of `bad_token`."""

# The last part in its one spelling: the bits that no byte needs are 0, so that no other text is the same signature.
_LAST: Final = "(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
_FORM: Final = re.compile(rf"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.(?!$){_LAST}", re.ASCII)


def has_token_form(text: str) -> bool:
    """Return whether a text consists of three parts of Base64url with dots between, and is not too long."""
    return len(text) <= MAX_TOKEN and _FORM.fullmatch(text) is not None


class UnknownKey(Refused):
    """A token names a key that the relay does not have; newer keys may have it."""


def bad_token(reason: str) -> Refused:
    """Return the error for a token that is not valid; the reason never quotes an unproven part of the token."""
    return Refused("bad_token", f"{REFUSAL}{reason}")
