"""Finding the peers of users and contacts."""

from collections.abc import Sequence

from relay.backend.subjects import Place
from relay.fleet_key import FleetKey
from relay.gateways.sip.fields import read_uri
from relay.gateways.sip.location import Location


class Index:
    """Keeps places by name."""

    def __init__(self) -> None:
        self.places: dict[str, list[Place]] = {}

    async def find(self, subject: str, limit: int) -> Sequence[Place]:
        return self.places.get(subject, [])[:limit]


async def test_records_of_one_room() -> None:
    users, contacts, key = Index(), Index(), FleetKey(["a fleet secret of the tests"])
    here, there = (Location(users, contacts, key, room) for room in ("here", "there"))
    users.places[here.user_record("alice")] = [
        Place("here", "alice"), Place("here", "alice;x@y.invalid"), Place("here", "alice"), Place("there", "alice"),
    ]  # fmt: skip
    contact = read_uri("sip:x@y.invalid;transport=ws")
    contacts.places[here.contact_record(contact)] = [Place("here", "alice;x@y.invalid")]
    assert await here.user("alice") == ["alice", "alice;x@y.invalid"]
    assert await here.contact(read_uri("sip:x@Y.invalid")) == ["alice;x@y.invalid"]
    assert await there.user("alice") == []
    assert await here.user("bob") == []


def test_the_names_of_devices_and_records() -> None:
    location = Location(Index(), Index(), FleetKey(["a fleet secret of the tests"]), "room")
    other = Location(Index(), Index(), FleetKey(["the secret of another fleet"]), "room")
    assert location.device("alice", read_uri("sip:x%20y@z.invalid:5060")) == "alice;x%20y@z.invalid:5060"
    assert location.device("alice", read_uri(f"sip:x@{'z' * 255}")) == ""
    # Nobody without the key of the fleet can make one.
    assert location.user_record("alice") != other.user_record("alice")
    assert location.user_record("alice") != location.contact_record(read_uri("sip:alice@x"))
