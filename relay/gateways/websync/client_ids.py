"""Ids as the client takes them: only text in which a GUID occurs, of which it keeps the whole.

Peer ids and session ids of the relay have no such form. So one without a GUID gets a fixed one in front.
"""

import re
from typing import Final

from relay.model.errors import Refused
from relay.model.names import escape_peer, unescape

_PREFIX: Final = "72656c61-7900-4000-8000-000000000000."
_HAS_GUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE).search


def client_id(peer: str) -> str:
    """Return the client id that stands for a peer, whose escaped id this is."""
    text = unescape(peer)
    return text if _HAS_GUID(text) and not text.startswith(_PREFIX) else _PREFIX + text


def peer_id(client: str) -> str:
    """Return the escaped id of the peer for which a client id stands; raises `Refused` (`bad_peer`)."""
    return escape_peer(client.removeprefix(_PREFIX))


def session_id(key: str) -> str:
    """Return the session id that stands for a resume key."""
    return _PREFIX + key


def resume_key(session: str) -> str:
    """Return the resume key for which a session id stands; raises `Refused` (`unknown_session`)."""
    if not session.startswith(_PREFIX):
        raise Refused("unknown_session")
    return session.removeprefix(_PREFIX)
