"""The description of the service and the OpenAPI document."""

from relay import __version__
from relay.http.openapi import document
from tests.unit.http.conftest import GATEWAY_ERRORS, WEBSOCKETS, MakeSite


async def test_the_root_names_the_other_addresses(site: MakeSite) -> None:
    here = site()
    answer = (await here.get("/")).json()
    assert (answer["name"], answer["version"], answer["websocket"]) == ("relay", __version__, WEBSOCKETS)
    for link in (answer["health"], answer["openapi"]):
        assert (await here.get(link)).status_code == 200


async def test_every_origin_may_read_the_document(site: MakeSite) -> None:
    here = site(allowed_origins=("https://app.example",))
    for origin in ("https://app.example", "https://editor.example"):
        answer = await here.get("/openapi.json", headers={"Origin": origin})
        assert answer.json() == document(GATEWAY_ERRORS)
        assert answer.headers["access-control-allow-origin"] in {"*", origin}
