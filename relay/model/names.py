"""Room names, peer ids and worker ids: what may stand in a Redis key, a log line and a JSON string as it is.

The alphabet is what a URL path segment carries without escaping, less quotes, ampersand, comma and dollar sign. So no
name needs escaping anywhere it is written: not in a key (`{}` is the cluster's hash tag), not in a log (no control
characters), not in JSON (no quotes), not in a comma-separated list.
"""

import re

from relay.model.errors import Refused

MAX_ROOM = 128
MAX_PEER = 64

SERVER = "$server"
"""The sender of what arrives over HTTP; no client can claim it, as `$` is outside the alphabet."""

ALPHABET = "letters, digits and - . _ ~ ! * ( ) + ; = : @"
_NAME = re.compile(r"[A-Za-z0-9\-._~!*()+;=:@]+", re.ASCII)


def check_room(name: str) -> str:
    """Return `name` if it can name a room; raise `Refused` with code `bad_room` if not."""
    if len(name) > MAX_ROOM or name in {".", ".."} or not _NAME.fullmatch(name):
        raise Refused("bad_room", f"a room name is 1 to {MAX_ROOM} characters: {ALPHABET}; not . or ..")
    return name


def check_peer(name: str) -> str:
    """Return `name` if it can be a peer id; raise `Refused` with code `bad_peer` if not."""
    if len(name) > MAX_PEER or not _NAME.fullmatch(name):
        raise Refused("bad_peer", f"a peer id is 1 to {MAX_PEER} characters: {ALPHABET}")
    return name
