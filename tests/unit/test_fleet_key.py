"""Derived keys, MACs, and the change of a fleet key."""

import hashlib
import hmac

from relay.fleet_key import FleetKey

OLD, NEW = "o" * 32, "n" * 32


def record(made: int, secret: str) -> str:
    return f"{made:017}-{secret}"


def test_a_derived_key_is_the_hmac_of_its_purpose() -> None:
    key = FleetKey([NEW])
    assert key.derive("session ids") == hmac.new(NEW.encode(), b"session ids", hashlib.sha256).digest()
    assert key.derive("session ids") != key.derive("forwarding")
    assert key.derive("session ids") is key.derive("session ids")


def test_a_mac_holds_for_its_purpose_its_data_and_its_size_only() -> None:
    key = FleetKey([NEW])
    mac = key.sign("session ids", b"data", size=10)
    assert len(mac) == 10
    assert key.verify("session ids", b"data", mac, size=10)
    assert not key.verify("session ids", b"other", mac, size=10)
    assert not key.verify("forwarding", b"data", mac, size=10)
    assert not key.verify("session ids", b"data", mac)
    assert not key.verify("session ids", b"data", b"", size=10)
    assert not key.verify("session ids", b"data", mac[:-1], size=10)


def test_the_first_configured_secret_signs_and_all_of_them_verify() -> None:
    before, now, after = FleetKey([OLD]), FleetKey([NEW, OLD]), FleetKey([NEW])
    assert now.verify("p", b"data", before.sign("p", b"data"))
    assert after.verify("p", b"data", now.sign("p", b"data"))
    assert not after.verify("p", b"data", before.sign("p", b"data"))


def test_a_configured_key_is_agreed_and_another_one_only_with_the_fleet() -> None:
    assert FleetKey([NEW]).agreed
    key = FleetKey()
    assert not key.agreed
    assert len(key.suggestion) == 64
    assert FleetKey().suggestion != key.suggestion
    assert not key.agree([record(1, key.suggestion)])
    assert key.agreed


def test_a_key_that_is_replaced_still_verifies() -> None:
    key = FleetKey()
    # A suggestion that the fleet did not take was never in use.
    assert not key.agree([record(2, NEW)])
    mac = key.sign("p", b"data")
    assert not key.agree([record(2, NEW)])
    assert key.agree([record(1, OLD), record(2, NEW)])
    assert key.derive("p") == FleetKey([OLD]).derive("p")
    assert key.verify("p", b"data", mac)
    assert key.verify("p", b"data", FleetKey([OLD]).sign("p", b"data"))


def test_no_secret_shows_in_the_text_of_the_object() -> None:
    key = FleetKey()
    assert key.suggestion not in f"{key!r} {key} {[key]}"
    assert repr(FleetKey([NEW, OLD])) == "<FleetKey of 2 secrets>"
