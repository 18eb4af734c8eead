"""Groups 12 and 13: the relay does not compress: it accepts no offered extension.

The suite plays each offer with eighteen sizes and fragmentations, or five kinds of data; a server that does not agree
is asked for none of them, so that one case here stands for all with the same offer.
"""

import zlib
from typing import Final

from tests.conformance.autobahn.case import PROTOCOL_ERROR, Case, Event
from tests.conformance.autobahn.wire import TEXT, Frame

_CLIENT = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
_BOTH = f"{_CLIENT}; server_no_context_takeover"

_OFFERS: Final = {
    "12": _CLIENT,
    "13.1": _CLIENT,
    "13.2": _BOTH,
    "13.3": f"{_CLIENT}; server_max_window_bits=9",
    "13.4": f"{_CLIENT}; server_max_window_bits=15",
    "13.5": f"{_BOTH}; server_max_window_bits=9",
    "13.6": f"{_BOTH}; server_max_window_bits=15",
    "13.7": f"{_BOTH}; server_max_window_bits=9, {_BOTH}, {_CLIENT}",
}

_JSON = b'{"sender": "me", "channel": "chat", "message": "hello"}'


def _deflated(text: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return (made.compress(text) + made.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


_PLAIN, _HEARD = (Frame(TEXT, _JSON),), (Event("text", _JSON),)
_COMPRESSED = (Frame(TEXT, _deflated(_JSON), rsv=4),)

CASES: Final = [
    case
    for at, offer in _OFFERS.items()
    for case in (
        Case(f"{at}.x", f"offer {offer}", _PLAIN, _HEARD, offer=offer),
        Case(f"{at}.x+rsv1", "compressed all the same", _COMPRESSED, ending=PROTOCOL_ERROR, offer=offer),
    )
]
