"""Where pages find the client's script."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from relay.config import Settings
from relay.gateways.socketio import script
from relay.model.errors import Refused


def pages(**settings: str) -> TestClient:
    app = Starlette(routes=script.routes(Settings(extensions=settings), "/socket.io"))
    return TestClient(app, follow_redirects=False)


@pytest.mark.parametrize("name", ["socket.io.js", "socket.io.min.js"])
def test_a_page_is_redirected_to_where_the_operator_has_it(name: str) -> None:
    answer = pages(socketio_client_url="https://cdn.example/socket.io.js?v=4").get(f"/socket.io/{name}")
    assert (answer.status_code, answer.headers["location"]) == (302, "https://cdn.example/socket.io.js?v=4")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_without_the_setting_there_is_none() -> None:
    with pytest.raises(Refused) as refused:
        pages().get("/socket.io/socket.io.js")
    assert (refused.value.status, refused.value.code) == (404, "no_client_script")
