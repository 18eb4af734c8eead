from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.xhrsignaling import places
from relay.gateways.xhrsignaling.places import COOKIE, SharedPlaces, cookie_of, place_in_cookie
from relay.rooms.worker import Worker

ORIGIN = "http://relay.example:8888"


def scope(**headers: str) -> Any:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"headers": fields, "client": ("10.0.0.1", 1)}


def test_a_cookie_proves_the_place_that_it_was_set_for() -> None:
    worker = Worker(Settings())
    place = HttpPlace("room", "a%20;b.c", worker.session_ids.issue())
    cookie = cookie_of(place, {"scheme": "http"}).decode()
    assert cookie.endswith("; HttpOnly; SameSite=Strict")
    assert cookie_of(place, {"scheme": "https"}).endswith(b"; Secure")
    sent = f"other=1; {cookie.partition('; ')[0]}; more=2"
    assert place_in_cookie(scope(cookie=sent, origin=ORIGIN, host="relay.example:8888"), worker, "room") == place


@pytest.mark.parametrize("other", ['consent={"ad": true}', "name=Ann Example", "flag", "=x", "a[b]=1", 'q="', "x=\xe9"])
def test_other_cookies_of_the_site_hide_no_place(other: str) -> None:
    worker = Worker(Settings())
    key = worker.session_ids.issue()
    for text in (f"{other}; {COOKIE}=ann.{key}", f"{COOKIE}=ann.{key}; {other}"):
        request = scope(cookie=text, origin=ORIGIN, host="relay.example:8888")
        assert place_in_cookie(request, worker, "room") == HttpPlace("room", "ann", key)


def test_cookies_that_prove_nothing() -> None:
    worker, other = Worker(Settings()), Worker(Settings())
    key = worker.session_ids.issue()
    own = {"origin": ORIGIN, "host": "relay.example:8888"}
    for text in (
        f"{COOKIE}=ann.{other.session_ids.issue()}",
        f"{COOKIE}=ann.{key[:-1]}",
        f"{COOKIE}={key}",
        f"{COOKIE}=%00.{key}",
        f"{COOKIE}=",
        f"{COOKIE}; nothing",
        f"{COOKIE}=ann.{key}" + "x" * 9000,
        f"else=ann.{key}",
    ):
        assert place_in_cookie(scope(cookie=text, **own), worker, "room") is None
    assert place_in_cookie(scope(cookie=f"{COOKIE}=ann.{key}"), worker, "room") is None
    assert place_in_cookie(scope(**own), worker, "room") is None


def test_clients_without_a_place_share_one_by_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_MOST_SHARED", 2)
    now = [100.0]
    known, place = SharedPlaces(lambda: now[0]), HttpPlace("room", "ann", "key")
    one = scope(user_agent="a", origin="http://page.example")
    known.keep(one, "", place)
    assert known.get(one, "room", "") is place
    for other in (
        known.get(one, "other", ""),
        known.get(one, "room", "token"),
        known.get(scope(user_agent="b", origin="http://page.example"), "room", ""),
        known.get(scope(user_agent="a", origin="http://other.example"), "room", ""),
        known.get({**one, "client": ("10.0.0.2", 1)}, "room", ""),
    ):
        assert other is None
    known.forget(one, "", HttpPlace("room", "ann", "another key"))
    assert known.get(one, "room", "") is place
    known.forget(one, "", place)
    assert known.get(one, "room", "") is None
    known.keep(one, "", place)
    # A page that gets a cookie shares the place only when no cookie has come back for a while.
    assert known.get(one, "room", "", cookies=True) is None
    now[0] += 1.9
    known.keep(one, "", other_place := HttpPlace("room", "ben", "key"))
    assert known.get(one, "room", "", cookies=True) is None
    now[0] += 0.2
    assert known.get(one, "room", "", cookies=True) is other_place
    for token in "bc":
        known.keep(one, token, place)
    assert len(known) == 2
    assert known.get(one, "room", "") is None


def test_a_client_that_invents_browsers_makes_no_other_place_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_MOST_SHARED", 3)
    known, place = SharedPlaces(lambda: 0.0), HttpPlace("room", "ann", "key")
    victim, attacker = scope(user_agent="a"), {"client": ("10.0.0.2", 1)}
    known.keep(victim, "", place)
    for number in range(9):
        known.keep({**scope(user_agent=str(number)), **attacker}, "", HttpPlace("room", "ben", "key"))
    assert known.get(victim, "room", "") is place
    assert [known.get({**scope(user_agent=text), **attacker}, "room", "") is None for text in "678"] == [
        True,
        False,
        False,
    ]
    assert len(known) == 3
    known.forget(victim, "", place)
    assert len(known) == 2
