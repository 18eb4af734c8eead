"""Phones of tests: when a call counts as begun."""

from collections import defaultdict
from typing import Any

import pytest

from tests.sip_phones import Happening, Phones


class Scripted(Phones):
    """Phones whose events are given."""

    def __init__(self, **events: list[Happening]) -> None:
        super().__init__()
        self.events = defaultdict(list, events)

    async def do(self, client: str, what: str, **fields: Any) -> None:
        self._library.setdefault(client, "jssip")

    async def happened(self, client: str) -> Happening:
        return self.events[client].pop(0)


CONFIRMED, CONNECTED, CALL = {"what": "confirmed"}, {"what": "connected"}, {"what": "call", "from": "alice"}


@pytest.mark.parametrize("callee", [[CONNECTED, CONFIRMED], [CONFIRMED, CONNECTED]])
async def test_a_call_has_begun_once_both_are_confirmed_and_connected(callee: list[Happening]) -> None:
    """A callee whose ACK is still on its way refuses re-INVITEs, although audio flows."""
    phones = Scripted(alice=[CONFIRMED, CONNECTED], bob=[CALL, *callee])
    await phones.call("alice", "bob")
    assert phones.events == {"alice": [], "bob": []}


async def test_a_call_that_ends_while_it_is_used_is_a_failure() -> None:
    phones = Scripted(alice=[], bob=[{"what": "ended", "by": "remote"}])
    phones._library = {"alice": "jssip", "bob": "jssip"}
    with pytest.raises(AssertionError, match="ended"):
        await phones.use_the_call("alice", "bob")
