"""How a client comes back into the room in which it was before its connection was lost.

RTCMultiConnection does not join again, and does not say in which room it was. So the place of each member is recorded
under a name (`Worker.places`), and taken back with a key:

- A client from 4.6 on brings its `pid`: the name, and the secret that is the newest key of its membership.
- Any other client has no secret. Its name and its key are derived from its handshake: the user id, its address
  and the Origin of its page; with auth on, the user id and the subject of its token. That key takes a place only while
  it is held. A client with the address, Origin and user id of another one could take that one's place in this time.
"""

import base64
import re
from typing import Final, NamedTuple

import msgspec

from relay.gateways.socketio.apps.port import ClientPort, Handshake
from relay.ids import fingerprint

_PURPOSE: Final = "place of RTCMultiConnection"
_KEY_SIZE: Final = 16
_PRIVATE_ID: Final = re.compile(r"([0-9a-f]{64})\.([A-Za-z0-9_-]{22})", re.ASCII)

_text = msgspec.json.Decoder(str)


class PlaceKey(NamedTuple):
    """The keys to a client's place.

    It is recorded under `name`. `offered` takes it back; one that is `proven` came from the client, and takes it from
    an open connection as well. `secret` is the newest key of a membership.
    """

    name: str
    offered: str
    secret: str
    proven: bool

    @property
    def private_id(self) -> str:
        """The private id of the client, which a client from 4.6 on brings back."""
        return f"{self.name}.{self.secret}"

    def __repr__(self) -> str:
        return f"PlaceKey(proven={self.proven})"


def place_key(port: ClientPort, userid: str) -> PlaceKey:
    """Return the keys of a client that has connected with this user id."""
    found = _private_id(port.handshake)
    if found is not None:
        return PlaceKey(found[0], found[1], found[1], proven=True)
    derived = _derived(port, userid)
    return PlaceKey(fingerprint(derived), derived, port.worker.random.resume_key(), proven=False)


def _derived(port: ClientPort, userid: str) -> str:
    handshake, grants = port.handshake, port.permissions.grants
    if grants is None:
        parts = ["address", userid, handshake.address, handshake.origin]
    elif grants.subject:
        parts = ["subject", userid, grants.subject]
    else:
        # Nothing proves that a client without a subject is the same one: it does not come back.
        parts = ["nobody", port.worker.random.resume_key()]
    mac = port.worker.fleet_key.sign(_PURPOSE, msgspec.json.encode(parts), size=_KEY_SIZE)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def _private_id(handshake: Handshake) -> tuple[str, str] | None:
    given = handshake.auth.get("pid")
    try:
        found = None if given is None else _PRIVATE_ID.fullmatch(_text.decode(given))
    except msgspec.MsgspecError:
        return None
    return None if found is None else (found[1], found[2])
