"""The messages and refusals that a session writes."""

import pytest

from relay.rooms.worker import Worker
from tests.sip_client import SipEnded
from tests.unit.gateways.sip.fakes import Enter


async def test_a_large_message_is_refused(worker: Worker, enter: Enter) -> None:
    alice = await enter("alice")
    answer = await alice.ask("MESSAGE", "sip:calls@x", body="x" * worker.settings.max_message)
    assert (answer.status, answer.code) == (513, "too_large")


async def test_a_frame_that_is_no_message_ends_the_connection(enter: Enter) -> None:
    alice = await enter("alice", register=False)
    await alice.raw("\r\n\r\n")
    assert await alice.read_raw() == "\r\n"
    await alice.raw("\r\n")
    await alice.raw('{"message":"hello"}')
    with pytest.raises(SipEnded, match="4503 bad_packet"):
        await alice.next()
