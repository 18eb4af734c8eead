from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.signalr.places import COOKIE, Proof, cookie_for, proof_of
from relay.model.commands import Tracking
from relay.rooms.worker import Worker

SECRET = "A" * 22
REQUEST = JoinRequest("room", "ann", tracking=Tracking.WRITTEN)
OTHER = {"origin": "https://page.example", "host": "relay.example"}
OWN = {"origin": "https://relay.example", "host": "relay.example"}


def scope(scheme: str = "http", **headers: str) -> Any:
    return {
        "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
        "scheme": scheme,
    }


@pytest.fixture
def worker() -> Worker:
    return Worker(Settings())


def test_a_cookie_proves_a_place_for_each_room_and_peer(worker: Worker) -> None:
    proof = proof_of(scope(cookie=f"{COOKIE}={SECRET}"), worker, named=True)
    assert proof == Proof(SECRET, named=True)
    assert SECRET not in repr(proof)
    keys = {
        proof.applied(JoinRequest(room, peer), subject, worker.fleet_key).resume
        for room in ("a", "b") for peer in ("c", "d") for subject in ("", "e")
    }  # fmt: skip
    assert len(keys) == 8
    assert SECRET not in "".join(keys)
    request = proof.applied(REQUEST, "", worker.fleet_key)
    assert (request.own_key, request.held_only, request.found_by, request.can_resume) == (True, False, "", True)


def test_a_cookie_that_tabs_share_takes_only_held_places(worker: Worker) -> None:
    shared = proof_of(scope(cookie=f"{COOKIE}={SECRET}", **OWN), worker, named=False)
    request = shared.applied(REQUEST, "", worker.fleet_key)
    assert request.held_only
    assert request.found_by
    assert shared.found_by("other") != request.found_by
    alone = proof_of(scope(cookie=f"{COOKIE}={SECRET}"), worker, named=False)
    assert not alone.applied(REQUEST, "", worker.fleet_key).held_only


def test_the_subject_of_a_token_takes_only_held_places(worker: Worker) -> None:
    request = Proof().applied(REQUEST, "ann", worker.fleet_key)
    assert (request.own_key, request.held_only) == (True, True)
    assert request.resume == Proof().applied(REQUEST, "ann", worker.fleet_key).resume
    assert request.resume != Proof().applied(REQUEST, "ben", worker.fleet_key).resume


def test_without_a_proof_a_client_is_not_held(worker: Worker) -> None:
    request = Proof(named=True).applied(REQUEST, "", worker.fleet_key)
    assert (request.resume, request.can_resume, request.tracking) == ("", False, Tracking.NONE)


def test_a_key_in_the_address_counts_first(worker: Worker) -> None:
    request = JoinRequest("room", "ann", resume="0123456789abcdef", own_key=True)
    assert Proof(SECRET).applied(request, "ben", worker.fleet_key) is request


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=", f"{COOKIE}={SECRET}A", f"{COOKIE}={SECRET[1:]}!", f"x={SECRET}"])
def test_texts_that_are_no_cookie(cookie: str, worker: Worker) -> None:
    assert proof_of(scope(cookie=cookie), worker, named=False) == Proof()


def test_from_a_page_of_another_origin_a_cookie_counts_only_if_the_setting_names_it(worker: Worker) -> None:
    request = scope(cookie=f"{COOKIE}={SECRET}", **OTHER)
    assert proof_of(request, worker, named=False).secret == ""
    assert cookie_for(request, worker) == b""
    listing = Worker(Settings(allowed_origins=(OTHER["origin"],)))
    assert proof_of(request, listing, named=False).secret == SECRET
    assert b"SameSite=None; Secure" in cookie_for(scope("https", **OTHER), listing)
    assert cookie_for(scope(**OTHER), listing).endswith(b"; HttpOnly; SameSite=Strict")


def test_the_cookie_that_is_set(worker: Worker) -> None:
    cookie = cookie_for(scope(), worker).decode()
    name, _, rest = cookie.partition("; ")
    assert rest == "HttpOnly; SameSite=Strict"
    assert proof_of(scope(cookie=name), worker, named=False).secret
    assert cookie_for(scope(), worker) != cookie.encode()
    assert cookie_for(scope("https", **OWN), worker).endswith(b"; HttpOnly; SameSite=Strict; Secure")
