"""Commands and their answers."""

import json

import pytest

from relay.client.errors import NotAcknowledged, Rejected
from relay.client.requests import Requests


async def test_an_answer_is_that_of_the_command_with_its_key() -> None:
    requests = Requests()
    one, first = requests.begin({"type": "rules"})
    two, second = requests.begin({"type": "kick", "peer": "a"})
    key_one, key_two = json.loads(one)["key"], json.loads(two)["key"]
    requests.received({"type": "pong", "id": "1-1"})
    requests.received({"type": "error", "code": "not_granted", "text": "no", "key": key_two})
    requests.received({"type": "rules", "rules": {}, "key": key_one})
    requests.received({"type": "rules", "rules": {"locked": True}, "key": key_one})
    assert (await first)["rules"] == {}
    with pytest.raises(Rejected, match="not_granted"):
        await second


async def test_at_its_end_it_fails_those_without_an_answer_and_takes_no_more() -> None:
    requests = Requests()
    _, first = requests.begin({"type": "rules"})
    _, given_up = requests.begin({"type": "rules"})
    given_up.cancel()
    requests.end()
    with pytest.raises(NotAcknowledged, match="may have been sent"):
        await first
    with pytest.raises(NotAcknowledged, match="was not sent"):
        requests.begin({"type": "rules"})


async def test_the_end_of_the_room_answers_the_command_to_close_it() -> None:
    requests = Requests()
    _, closing = requests.begin({"type": "close"})
    _, asking = requests.begin({"type": "rules"})
    requests.received({"type": "closed", "id": "1-2"})
    assert (await closing)["type"] == "closed"
    assert not asking.done()
