"""Finds the peers of a user, and of a contact, in one room: the location service of the registrar.

A user's first binding has the user's name as its peer id, so that members of all protocols can send to it. A further
one, of another device, has the contact behind it: `alice;x1y2@z3.invalid`. Each is recorded under the user, and under
its contact. The names of these records have a MAC, so that no client of another protocol can make one.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from relay.fleet_key import FleetKey
from relay.gateways.sip.fields import Uri
from relay.model.errors import Refused
from relay.model.names import escape_peer

SEPARATOR: Final = ";"
"""Between the user and the contact in the peer id of a further device; no user has it in its name."""

MOST_BINDINGS: Final = 8
"""Bindings of one user."""

_PURPOSE: Final = "sip-location"


class PlaceLike(Protocol):
    """A room and a peer id."""

    @property
    def room(self) -> str:
        """The room."""
        ...

    @property
    def peer(self) -> str:
        """The peer id."""
        ...


class Records(Protocol):
    """An index of members under names."""

    async def find(self, subject: str, limit: int) -> Sequence[PlaceLike]:
        """Return the places under a name; raises `Unavailable` or `OutcomeUnknown`."""
        ...


class Location:
    """The bindings of one room; raises `Unavailable` or `OutcomeUnknown` when Redis does not answer."""

    def __init__(self, users: Records, contacts: Records, key: FleetKey, room: str) -> None:
        self._users = users
        self._contacts = contacts
        self._key = key
        self._room = room

    async def user(self, user: str) -> Sequence[str]:
        """Return the peer ids of a user, with one more than there may be if there are too many."""
        return await self._find(self._users, self.user_record(user))

    async def contact(self, uri: Uri) -> Sequence[str]:
        """Return the peer id that has a contact."""
        return await self._find(self._contacts, self.contact_record(uri))

    def device(self, user: str, contact: Uri) -> str:
        """Return the peer id of a further device of a user; "" if no peer can have it."""
        user_part, host, port = contact.place
        try:
            return escape_peer(f"{user}{SEPARATOR}{user_part}@{host}{':' if port else ''}{port}")
        except Refused:
            return ""

    def user_record(self, user: str) -> str:
        """Return the name of the record of a user."""
        return self._name("user", user)

    def contact_record(self, uri: Uri) -> str:
        """Return the name of the record of a contact."""
        return self._name("contact", *uri.place)

    async def _find(self, records: Records, name: str) -> Sequence[str]:
        places = await records.find(name, MOST_BINDINGS + 1)
        return list(dict.fromkeys(place.peer for place in places if place.room == self._room))

    def _name(self, *parts: str) -> str:
        text = "\0".join((self._room, *parts))
        return f"sip {self._key.sign(_PURPOSE, text.encode('utf-8', 'replace'), size=16).hex()}"
