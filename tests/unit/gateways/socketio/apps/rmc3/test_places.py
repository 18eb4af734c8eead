"""The keys to a page's place: its private id, or keys that are derived from its handshake."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.socketio.apps.port import Handshake
from relay.gateways.socketio.apps.rmc3.places import place_key
from relay.identity.grants import Grants
from relay.rooms.worker import Worker

WORKER = Worker(Settings())


class Port:
    """The part of a port that identifies a client."""

    def __init__(self, pid: object = None, *, grants: Grants | None = None, **more: str) -> None:
        auth = {} if pid is None else {"pid": json.dumps(pid).encode()}
        fields: dict[str, Any] = {"sid": "s", "origin": "https://page", "address": "10.0.0.1", **more}
        self.handshake = Handshake("/", {}, auth, **fields)
        self.worker = WORKER
        self.permissions = SimpleNamespace(grants=grants)


def key_of(userid: str = "ann", **more: Any) -> Any:
    port: Any = Port(**more)
    return place_key(port, userid)


def test_the_same_page_gets_the_same_name_and_key_and_a_new_secret() -> None:
    one, two = key_of(), key_of()
    assert (one.name, one.offered, one.proven) == (two.name, two.offered, False)
    assert one.secret != two.secret
    assert one.offered not in repr(one)


@pytest.mark.parametrize("more", [{"address": "10.0.0.2"}, {"origin": ""}, {"userid": "ben"}])
def test_any_other_page_gets_others(more: dict[str, str]) -> None:
    assert key_of(**more).name != key_of().name
    assert key_of(**more).offered != key_of().offered


def test_a_private_id_is_the_name_and_the_secret() -> None:
    first = key_of()
    again = key_of(pid=first.private_id, address="10.9.9.9", origin="https://x")
    assert (again.name, again.offered, again.secret, again.proven) == (first.name, first.secret, first.secret, True)


@pytest.mark.parametrize("pid", ["", "x", 7, {}, ".", "0" * 64, "0" * 64 + "." + "A" * 21, "0" * 64 + "." + "ü" * 22])
def test_a_text_that_the_relay_has_not_made_is_no_private_id(pid: object) -> None:
    assert not key_of(pid=pid).proven


def test_with_a_token_its_subject_counts_and_not_the_address() -> None:
    ann, eve = Grants(subject="ann"), Grants(subject="eve")
    assert key_of(grants=ann).name == key_of(grants=ann, address="10.9.9.9", origin="https://x").name
    assert key_of(grants=ann).name != key_of(grants=eve).name
    assert key_of(grants=ann).name != key_of().name
    assert key_of(grants=Grants(subject="")).name != key_of(grants=Grants(subject="")).name
