"""Where a subject is."""

import pytest

from relay.identity.grants import ADMIN, Grants
from tests.unit.http.conftest import FakeSubjects, FakeWorker, MakeSite, error_of

SECRET = "secret-secret-secret"
AUTH = {"auth": "required", "auth_secret": "s" * 32}
TOKEN = {"Authorization": f"Bearer {SECRET}"}


def worker(places: int = 2) -> FakeWorker:
    found = FakeSubjects([(f"room{number:03}", "p") for number in range(places)])
    return FakeWorker(tokens={SECRET: ADMIN, "t": Grants()}, subjects=found)


async def test_the_places_of_a_subject(site: MakeSite) -> None:
    answer = await site(worker=worker(), **AUTH).get("/subjects/auth0%7C5%2F7", headers=TOKEN)
    places = [{"room": "room000", "peer": "p"}, {"room": "room001", "peer": "p"}]
    assert answer.json() == {"subject": "auth0|5/7", "places": places, "more": False}


async def test_a_list_is_cut_off_and_says_so(site: MakeSite) -> None:
    answer = (await site(worker=worker(150), **AUTH).get("/subjects/ann", headers=TOKEN)).json()
    assert (len(answer["places"]), answer["more"]) == (100, True)


@pytest.mark.parametrize("name", ["", "%FF", "x" * 256])
async def test_a_text_that_is_no_subject(site: MakeSite, name: str) -> None:
    assert error_of(await site(worker=worker(), **AUTH).get(f"/subjects/{name}", headers=TOKEN)) == (400, "bad_query")


async def test_there_are_no_subjects_without_auth(site: MakeSite) -> None:
    answer = await site(admin_token=SECRET).get("/subjects/ann", headers=TOKEN)
    assert error_of(answer) == (403, "forbidden")
    assert "RELAY_AUTH" in answer.json()["error"]["text"]


async def test_only_an_admin_learns_where_a_subject_is(site: MakeSite) -> None:
    here = site(worker=worker(), **AUTH)
    assert error_of(await here.get("/subjects/ann")) == (401, "token_required")
    assert error_of(await here.get("/subjects/ann", headers={"Authorization": "Bearer t"})) == (403, "not_granted")
