"""Phones: user agents of JsSIP and SIP.js in Node or in pages, and the calls between two of them that tests make."""

from abc import ABC, abstractmethod
from typing import Any

from tests.fleet import Relay

LIBRARIES = ("jssip", "sipjs")
PAIRS = [("jssip", "jssip"), ("jssip", "sipjs"), ("sipjs", "jssip"), ("sipjs", "sipjs")]
"""Libraries of a caller and a callee."""

Happening = dict[str, Any]

_FAILURES = ("failed", "refused")
_ENDS = ("ended", "failed-call", "rejected")


class Phones(ABC):
    """Runs user agents by name; the commands are the methods of the classes in `conformance/sip_agents.mjs`."""

    def __init__(self) -> None:
        self._library: dict[str, str] = {}

    @abstractmethod
    async def do(self, client: str, what: str, **fields: Any) -> None:
        """Give a command."""

    @abstractmethod
    async def happened(self, client: str) -> Happening:
        """Return the next event, within half a minute."""

    async def until(self, client: str, what: str, **fields: Any) -> Happening:
        """Return the next happening of this kind; those before it are passed over, but for failures."""
        while (found := await self.happened(client))["what"] != what:
            assert found["what"] not in _FAILURES, (client, what, found)
        assert fields.items() <= found.items(), (client, found)
        return found

    async def until_in_call(self, client: str) -> None:
        """Wait until the call of a client is confirmed and its audio can flow, which come in any order.

        A callee is confirmed by the ACK. Until then it refuses re-INVITEs, and audio may flow before. An ACK has no
        answer: a worker that is killed before it has passed it on takes it along, and JsSIP does not send it again.
        """
        awaited = {"confirmed", "connected"}
        while awaited:
            found = await self.happened(client)
            assert found["what"] not in _FAILURES, (client, found)
            awaited.discard(found["what"])

    async def _within_call(self, client: str, what: str, **fields: Any) -> None:
        """As `until`; the end of the call is a failure."""
        while (found := await self.happened(client))["what"] != what:
            assert found["what"] not in (*_FAILURES, *_ENDS), (client, what, found)
        assert fields.items() <= found.items(), (client, found)

    async def open(
        self,
        user: str,
        *relays: Relay | str,
        library: str = "jssip",
        name: str = "",
        room: str = "calls",
        **options: Any,
    ) -> str:
        """Make a user agent, and wait until it has registered; `name` is its name here. Relays may be URLs."""
        client = name or user
        await self.create(client, user, *relays, library=library, room=room, **options)
        await self.until(client, "registered")
        return client

    async def create(
        self, client: str, user: str, *relays: Relay | str, library: str = "jssip", room: str = "calls", **options: Any
    ) -> None:
        """Make a user agent."""
        self._library[client] = library
        urls = [f"{one.ws if isinstance(one, Relay) else one}/rooms/{room}" for one in relays]
        await self.do(client, "open", library=library, user=user, urls=urls, options=options)

    async def call(self, caller: str, callee: str) -> None:
        """Let one call the other, which accepts; return when both are in the call."""
        await self.do(caller, "call", to=callee)
        await self.until(callee, "call", **{"from": caller})
        await self.do(callee, "answer")
        for one in (caller, callee):
            await self.until_in_call(one)

    # Calls.

    async def use_the_call(self, caller: str, callee: str) -> None:
        """Hold by re-INVITE, and by UPDATE where both libraries have it; DTMF and INFO in both directions."""
        updates = self._library[caller] == self._library[callee] == "jssip"
        await self.do(caller, "hold", update=False)
        await self._within_call(callee, "hold", by="remote")
        await self._within_call(caller, "changed")
        await self.do(caller, "unhold", update=updates)
        await self._within_call(callee, "unhold", by="remote")
        await self._within_call(caller, "changed")
        for one, other in ((caller, callee), (callee, caller)):
            await self.do(one, "dtmf", tone="5")
            await self._within_call(other, "dtmf", tone="5")
            await self.do(one, "info", body='{"a":"☃"}')
            await self._within_call(other, "info", body='{"a":"☃"}')

    async def hang_up(self, one: str, other: str) -> None:
        await self.do(one, "end")
        await self.until(other, "ended", by="remote")

    async def transfer(self, transferor: str, transferee: str, target: str) -> None:
        """Let the first of two in a call send the other one to a third; that call is confirmed."""
        await self.do(transferor, "transfer", to=target)
        await self.until(target, "call", **{"from": transferee})
        await self.do(target, "answer")
        await self.until(target, "connected")
        await self.until(transferor, "transferred")

    async def transfer_attended(self, transferor: str, transferee: str, target: str) -> None:
        """Let the first, which talks with both others, connect these: the new call replaces its own with the target."""
        await self.do(transferor, "transfer", attended=True)
        await self.until(target, "call", **{"from": transferee})
        await self.do(target, "answer")
        await self.until(transferee, "connected")
        await self.until(transferor, "transferred")

    async def is_refused(self, caller: str, cause: str, status: int) -> None:
        """Wait until a call has failed: JsSIP names the cause, SIP.js the status."""
        kind = self._library[caller]
        awaited = "failed-call" if kind == "jssip" else "rejected"
        while (found := await self.happened(caller))["what"] != awaited:
            pass
        assert found["cause"] == (cause if kind == "jssip" else status), found

    async def is_over(self, callee: str) -> None:
        """Wait until a call has ended that a callee had not accepted yet."""
        awaited = "failed-call" if self._library[callee] == "jssip" else "ended"
        while (await self.happened(callee))["what"] != awaited:
            pass
