"""The session answers any frame and goes on; under Starlette alone, without any extension of the server."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient, WebSocketTestSession

from relay.app import create_app
from relay.config import Settings
from relay.model.errors import ERRORS
from tests.unit.gateways.native.test_codec import COMMAND
from tests.unit.model.test_envelope import JSON

ANSWERS = {"welcome", "left", "subscribed", "presence", "pong", "ack", "error"}
FRAMES = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200),
    JSON.map(json.dumps),
    COMMAND.map(json.dumps),
    st.dictionaries(st.sampled_from(["to", "channel", "key", "from", "message"]), JSON).map(json.dumps),
)


@pytest.fixture(scope="module")
def session() -> Iterator[WebSocketTestSession]:
    app = create_app(Settings(message_rate=1e6, rooms_per_connection=10_000))
    with TestClient(app) as client, client.websocket_connect("/rooms/fuzz") as session:
        assert session.receive_json()["type"] == "welcome"
        yield session


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(FRAMES, max_size=5))
def test_every_frame_has_a_known_answer_and_the_session_goes_on(session: WebSocketTestSession, frames) -> None:
    for frame in frames:
        if isinstance(frame, bytes):
            session.send_bytes(frame)
        else:
            session.send_text(frame)
    session.send_json({"type": "presence", "room": "fence", "key": "fence"})
    while (event := session.receive_json()).get("key") != "fence":
        assert event["type"] in ANSWERS
        if event["type"] == "error":
            assert event["code"] in ERRORS
            assert event["code"] != "internal"
