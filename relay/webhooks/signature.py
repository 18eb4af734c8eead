"""The signature of a request: by it, the receiver knows that the relay made the body, and when."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SIGNATURE_HEADER: Final = "Relay-Signature"


def sign(secrets: Sequence[str], time: int, body: bytes) -> str:
    """Return the value of the header: `t=TIME,v1=MAC`, with a MAC for each secret.

    A MAC is the HMAC-SHA256, in hexadecimal digits, of the time (Unix time, s), a full stop, and the body.
    """
    signed = b"%d.%b" % (time, body)
    macs = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={time}", *(f"v1={mac}" for mac in macs)])
