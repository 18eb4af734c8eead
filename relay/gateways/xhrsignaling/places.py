"""The place of a request, which names no client: by the address, by a cookie, or by where the request comes from."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote

from starlette.types import Scope

from relay.gateways.base.cookies import is_same_origin, read_cookie
from relay.gateways.base.http_place import HttpPlace
from relay.http_request import counted_client, header
from relay.limits import Clock
from relay.model.errors import Refused
from relay.model.names import check_peer
from relay.rooms.worker import Worker
from relay.session_ids import BadSessionId

COOKIE: Final = "relay-place"

_MOST_SHARED: Final = 10_000
"""Clients without a place of their own that are remembered."""

_COOKIE_SECONDS: Final = 2.0
"""How long after its cookie was set a page without one is taken for another page: a page polls again after 400 ms."""

_NO_PLACES: Final[Mapping[bytes, tuple[HttpPlace, float]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FoundPlace:
    """The place of a request; the response sets the `cookie`, b"" for none. A `shared` place is that of an address."""

    place: HttpPlace
    cookie: bytes = b""
    shared: bool = False


def place_in_cookie(scope: Scope, worker: Worker, room: str) -> HttpPlace | None:
    """Return the place that the cookie of a page proves; None without one that this fleet has issued.

    The cookie counts only in requests of the same origin: a page of another one must not post in its user's name.
    """
    text = read_cookie(scope, COOKIE)
    if text is None or not is_same_origin(scope):
        return None
    return _read_place(text, worker, room)


def _read_place(text: str, worker: Worker, room: str) -> HttpPlace | None:
    peer, _, key = text.rpartition(".")
    try:
        worker.session_ids.owner(key)
        return HttpPlace(room, check_peer(unquote(peer)), key)
    except (BadSessionId, Refused):
        return None


def cookie_of(place: HttpPlace, scope: Scope) -> bytes:
    """Return the header that sets the cookie of a place.

    Without a path, it is for the requests beside this one, also if a proxy has changed the path.
    """
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    value = f"{COOKIE}={quote(place.peer, safe='')}.{place.resume}; HttpOnly; SameSite=Strict{secure}"
    return value.encode("ascii")


class SharedPlaces:
    """The places of clients that show none, by where their requests come from: these clients share them.

    That is the client's address, the origin of its page, its browser, and its token. A page that gets a cookie has a
    place of its own. If no cookie has come back for seconds, the browser may keep none, and pages share a place.

    Anybody may invent browsers. So where there are too many, the oldest place of that address is forgotten which has
    the most, and not those of others.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By address, with the time at which the first of the places was made whose cookies have not come back.
        self._places: dict[str, OrderedDict[bytes, tuple[HttpPlace, float]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def get(self, scope: Scope, room: str, token: str, *, cookies: bool = False) -> HttpPlace | None:
        """Return the place of such a client, None if it needs a new one; with `cookies`, it gets one with the place."""
        place, since = self._of(counted_client(scope)).get(_source(scope, room, token), (None, 0.0))
        return None if cookies and self._clock() - since < _COOKIE_SECONDS else place

    def forget(self, scope: Scope, token: str, place: HttpPlace) -> None:
        """Forget a place that a client has shown."""
        address, source = counted_client(scope), _source(scope, place.room, token)
        if self._of(address).get(source, (None,))[0] == place:
            self._remove(address, source)

    def keep(self, scope: Scope, token: str, place: HttpPlace) -> None:
        """Remember the place of such a client."""
        source = _source(scope, place.room, token)
        known = self._places.setdefault(counted_client(scope), OrderedDict())
        self._count += source not in known
        _, since = known.get(source, (None, self._clock()))
        known[source] = place, since
        if self._count > _MOST_SHARED:
            address, most = max(self._places.items(), key=lambda item: len(item[1]))
            self._remove(address, next(iter(most)))

    def _of(self, address: str) -> Mapping[bytes, tuple[HttpPlace, float]]:
        return self._places.get(address, _NO_PLACES)

    def _remove(self, address: str, source: bytes) -> None:
        known = self._places[address]
        del known[source]
        self._count -= 1
        if not known:
            del self._places[address]


def _source(scope: Scope, room: str, token: str) -> bytes:
    agent, origin = header(scope, b"user-agent") or "", header(scope, b"origin") or ""
    parts = (room, counted_client(scope), origin, agent, token)
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
