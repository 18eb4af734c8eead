"""Room names and peer ids, in an alphabet that needs no escaping anywhere.

The alphabet is that of a URL path segment, without quotes, ampersand, comma and dollar sign. So a name can be written
as it is: into a Redis key (no `{}`, the hash tag of a cluster), a log line (no control characters), a JSON string (no
quotes) and a comma-separated list.
"""

import re

from relay.model.errors import Refused

MAX_ROOM = 128
MAX_PEER = 64

SERVER = "$server"
"""The sender of envelopes published over HTTP; no client can have this peer id, as `$` is not in the alphabet."""

ALPHABET = "letters, digits and - . _ ~ ! * ( ) + ; = : @"
_NAME = re.compile(r"[A-Za-z0-9\-._~!*()+;=:@]+", re.ASCII)


def check_room(name: str) -> str:
    """Return `name` if it may be a room name; else raise `Refused` (`bad_room`)."""
    if len(name) > MAX_ROOM or name in {".", ".."} or not _NAME.fullmatch(name):
        raise Refused("bad_room", f"a room name is 1 to {MAX_ROOM} characters: {ALPHABET}; not . or ..")
    return name


def check_peer(name: str) -> str:
    """Return `name` if it may be a peer id; else raise `Refused` (`bad_peer`)."""
    if len(name) > MAX_PEER or not _NAME.fullmatch(name):
        raise Refused("bad_peer", f"a peer id is 1 to {MAX_PEER} characters: {ALPHABET}")
    return name
