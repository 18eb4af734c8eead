"""The places of clients in rooms, and the proofs with which a client gets its place back.

A client that comes back negotiates anew, and says nothing of its earlier connection. One of these proves its place:

- `peer` and `resume` in the address: a key that the page has made itself, as over plain HTTP.
- The cookie, which the first negotiation set. With `peer` in the address, it proves the place of that peer id. Without,
  it proves the one place in the room that was entered with it. The tabs of a browser share the cookie: so a browser
  gets back only a place that is held, and none where several are. A program has a cookie for each connection.
- The subject of the token: it gets its place back while that is held.

`peer` alone proves nothing.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import structs
from starlette.types import Scope

from relay.fleet_key import FleetKey
from relay.gateways.base.cookies import is_same_origin, may_use_cookies, read_cookie
from relay.gateways.base.join_request import JoinRequest
from relay.http_request import header
from relay.ids import fingerprint
from relay.model.commands import Tracking
from relay.rooms.worker import Worker

COOKIE: Final = "relay-signalr"

_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
_PURPOSE: Final = "places of SignalR"
_KEY_SIZE: Final = 24


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof of a client, besides a key in its address and its token.

    `secret` is that of its cookie, "" for none. If it is `named`, its address has a peer id. With a `shared` cookie,
    other pages of the browser may have places that are connected.
    """

    secret: str = field(default="", repr=False)
    named: bool = False
    shared: bool = False

    def found_by(self, room: str) -> str:
        """Return the name under which the places of a browser in a room are recorded, "" for none."""
        return fingerprint(f"signalr {room} {self.secret}") if self.secret and not self.named else ""

    def applied(self, request: JoinRequest, subject: str, key: FleetKey) -> JoinRequest:
        """Return a request for a room and a peer id with the key of the place and its other fields.

        `subject` is that of the token, "" for none. A client without a proof is not held: it cannot come back.
        """
        if request.resume:
            return request
        if self.secret:
            resume = _digest(["cookie", self.secret, subject, request.room, request.peer])
        elif subject:
            parts = msgspec.json.encode([subject, request.room, request.peer])
            resume = _text(key.sign(_PURPOSE, parts, size=_KEY_SIZE))
        else:
            return structs.replace(request, can_resume=False, tracking=Tracking.NONE)
        takes_over = bool(self.secret) and (self.named or not self.shared)
        name = self.found_by(request.room)
        return structs.replace(request, resume=resume, own_key=True, held_only=not takes_over, found_by=name)


NO_PROOF: Final = Proof()


def proof_of(scope: Scope, worker: Worker, *, named: bool) -> Proof:
    """Return the proof that a request carries."""
    secret = read_cookie(scope, COOKIE)
    if secret is None or not _SECRET.fullmatch(secret) or not may_use_cookies(scope, worker.origins):
        return Proof(named=named)
    return Proof(secret, named, shared=_is_browser(scope))


def cookie_for(scope: Scope, worker: Worker) -> bytes:
    """Return the header that sets the cookie of a browser, b"" for a page whose cookies do not count.

    Without a path, it is for the requests beside this one, also if a proxy has changed the path.
    """
    if not may_use_cookies(scope, worker.origins):
        return b""
    secure = scope.get("scheme") == "https"
    foreign = header(scope, b"origin") is not None and not is_same_origin(scope)
    # Only over TLS does a browser send cookies to another site.
    site = "SameSite=None; Secure" if foreign and secure else "SameSite=Strict" + ("; Secure" if secure else "")
    return f"{COOKIE}={worker.random.resume_key()}; HttpOnly; {site}".encode("ascii")


def _is_browser(scope: Scope) -> bool:
    return any(header(scope, name) is not None for name in (b"origin", b"sec-fetch-site", b"sec-fetch-mode"))


def _digest(parts: Sequence[str]) -> str:
    return _text(sha256(msgspec.json.encode(parts)).digest()[:_KEY_SIZE])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")
