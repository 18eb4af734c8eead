import json
from typing import Any

from relay.gateways.websync.messages import ClientMessage
from relay.gateways.websync.replies import (
    HANDSHAKE_AGAIN,
    body_of,
    connected,
    failure,
    handshake,
    not_connected,
    success,
)
from relay.model.errors import Refused

MESSAGE = ClientMessage("/chat", id="7")


def content(*replies: Any) -> Any:
    return json.loads(body_of([*replies]).data)


def test_each_reply_repeats_the_id() -> None:
    assert content(success(MESSAGE, "c", data=1)) == [
        {"id": "7", "channel": "/chat", "successful": True, "clientId": "c", "data": 1}
    ]
    assert content(failure(MESSAGE, Refused("too_fast", "slowly"))) == [
        {"id": "7", "channel": "/chat", "successful": False, "error": "731::too_fast: slowly"}
    ]
    assert content(failure(MESSAGE, Refused("banned"), final=True))[0]["error"].startswith("801::banned")


def test_a_handshake_offers_long_polling_alone() -> None:
    [reply] = content(handshake(ClientMessage("/meta/handshake", id="1"), "c", "s", 25))
    assert reply["supportedConnectionTypes"] == ["long-polling"]
    assert reply["advice"] == {"reconnect": "retry", "interval": 0}
    assert reply["ext"] == {"fm.sessionId": "s", "fm.timeout": 25_000}


def test_answers_to_connects() -> None:
    assert json.loads(connected('"4"').data) == [{"id": "4", "channel": "/meta/connect", "successful": True}]
    [reply] = json.loads(not_connected("4", Refused("unknown_session")).data)
    assert (reply["id"], reply["successful"], reply["advice"]) == (4, False, HANDSHAKE_AGAIN)
    assert reply["error"].startswith("604::unknown_session")
