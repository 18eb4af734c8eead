import pytest

from relay.config import Settings
from relay.gateways.xmpp.reading import read
from tests.unit.gateways.xmpp.bosh.site import NAMES, Client, site
from tests.unit.gateways.xmpp.streams import code


async def test_the_first_request_begins_a_session() -> None:
    async with site() as here:
        client = await Client(here).begin()
        greeting = client.greeting
        assert greeting is not None
        told = {name: greeting.get(name) for name in ("wait", "hold", "requests", "inactivity", "maxpause", "ver")}
        assert told == {"wait": "5", "hold": "1", "requests": "2", "inactivity": "30", "maxpause": "120", "ver": "1.6"}
        (features,) = greeting.children
        assert [one.text for one in features.all() if one.name == "mechanism"] == ["ANONYMOUS", "PLAIN"]
        assert len(client.sid) == 44
        # The relay keeps a hash alone.
        assert here.sessions.get(client.sid) is None
        assert len(here.sessions) == 1


async def test_stream_management_is_not_offered() -> None:
    async with site() as here:
        client = await Client(here).log_in()
        assert (await client.ask('<enable xmlns="urn:xmpp:sm:3" resume="true"/>')).children[0].name == "failed"


async def test_a_session_that_is_not_there() -> None:
    async with site() as here:
        response = await here.ask(f'<body rid="1" sid="{"x" * 44}" {NAMES}/>')
        root = read(response.body).root
        assert (response.status, root.get("type"), root.get("condition")) == (200, "terminate", "item-not-found")
        assert code(root) == "unknown_session"


async def test_a_request_of_a_session_elsewhere_is_forwarded() -> None:
    async with site() as here:
        body = f'<body rid="1" sid="elsewhere" {NAMES}/>'
        assert (await here.ask(body)).body == body.encode()


@pytest.mark.parametrize(
    ("method", "body", "status", "condition"),
    [
        ("GET", "", 405, "bad-request"),
        ("POST", "<body", 400, "bad-request"),
        ("POST", "<body/>", 400, "bad-request"),
        ("POST", "x" * (Settings().max_request + 1), 413, "policy-violation"),
    ],
)
async def test_a_request_that_is_none(method: str, body: str, status: int, condition: str) -> None:
    async with site() as here:
        response = await here.ask(body, method)
        root = read(response.body).root
        assert (response.status, root.get("type"), root.get("condition")) == (status, "terminate", condition)
        assert response.headers["content-type"].startswith("text/xml")
        assert len(here.sessions) == 0


async def test_a_large_request_is_served() -> None:
    async with site() as here:
        client = await Client(here).enter("ann")
        text = "é" * 10_000
        message = f'<message to="room@conference.localhost" type="groupchat"><body>{text}</body></message>'
        heard = await client.until("body", message)
        assert heard[-1].children[0].text == text


async def test_the_end_of_a_large_first_request_is_told() -> None:
    async with site() as here:
        root = await Client(here).ask(f"<a>{'x' * 40_000}</a>", 'to="localhost"')
        assert (root.get("type"), root.get("condition")) == ("terminate", "remote-stream-error")
        assert len(here.sessions) == 0


async def test_a_domain_that_is_none_ends_the_session() -> None:
    async with site() as here:
        root = await Client(here).ask("", 'to="a b"')
        assert (root.get("type"), root.get("condition")) == ("terminate", "remote-stream-error")
        assert root.children[0].children[0].name == "host-unknown"
