"""Tags of addresses: short, different in each room, and those of one fleet key."""

import re

from relay.backend.redis.tags import tags_of
from relay.fleet_key import FleetKey

SECRET = "s" * 32


def test_all_workers_of_a_fleet_make_the_same_tag() -> None:
    tag = tags_of(FleetKey([SECRET]))("room", "192.0.2.7")
    assert tag == tags_of(FleetKey([SECRET]))("room", "192.0.2.7")
    # Nothing that separates the parts of an entry.
    assert re.fullmatch(r"[A-Za-z0-9_-]{8}", tag)


def test_a_tag_is_that_of_one_room_one_address_and_one_fleet() -> None:
    tag_of, other_fleet = tags_of(FleetKey([SECRET])), tags_of(FleetKey(["t" * 32]))
    tags = {tag_of(room, address) for room in ("a", "b") for address in ("192.0.2.7", "2001:db8::/64", "unknown")}
    assert len(tags) == 6
    assert other_fleet("a", "192.0.2.7") not in tags


def test_a_client_that_is_not_counted_has_no_tag() -> None:
    assert tags_of(FleetKey([SECRET]))("room", "") == ""


def test_a_tag_follows_the_fleet_key() -> None:
    key = FleetKey()
    tag_of = tags_of(key)
    before = tag_of("room", "192.0.2.7")
    key.agree(["1" * 17 + "-" + "0" * 64])
    assert tag_of("room", "192.0.2.7") != before
