"""One room on two workers, with a native witness, which sees the members of every protocol."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.fleet import Json, Relay, eventually
from tests.gateways.driver import Arrived, Capabilities, ClientDriver, Closed, Departed, Event, Heard, Opened
from tests.gateways.drivers.native import NativeDriver
from tests.gateways.rows import Row


@dataclass(eq=False)
class Player:
    """A client in the room, with the peer id that the witness has seen."""

    driver: ClientDriver
    peer: str

    async def hears(self, *expected: Any) -> None:
        """Assert that the next events are these messages, in this order."""
        for data in expected:
            event = await self.driver.next()
            assert isinstance(event, Heard), event
            assert event.data == data, f"{event.data!r} instead of {data!r}"


@dataclass(eq=False)
class Scene:
    """A room; `here` and `there` are its workers. Players join and leave in the sight of all others with presence."""

    row: Row
    here: Relay
    there: Relay
    room: str
    stack: AsyncExitStack
    witness: NativeDriver = field(init=False)
    witness_peer: str = ""
    players: list[Player] = field(default_factory=list)

    async def begin(self) -> None:
        """Let the witness in, which is on the worker `here`."""
        self.witness = NativeDriver(self.can.channel)
        self.stack.push_async_callback(self.witness.drop)
        self.witness_peer = (await self.witness.open(self.here, self.room)).peer

    @property
    def can(self) -> Capabilities:
        return self.row.driver().can

    async def join(self, relay: Relay) -> Player:
        """Let a new client of this row in; all members with presence see that it joins."""
        driver = self.row.driver()
        self.stack.push_async_callback(driver.drop)
        return await self._arrive(driver, await driver.open(relay, self.room))

    async def come_back(self, player: Player, relay: Relay) -> Player:
        """Open a player's connection again, on any worker: as the same member, or as a new one."""
        self.players.remove(player)
        opened = await player.driver.open(relay, self.room)
        assert opened.resumed is self.can.resume
        if not opened.resumed:
            return await self._arrive(player.driver, opened)
        assert opened.peer == player.peer
        self.players.append(player)
        return player

    async def sees_departure(self, player: Player) -> None:
        """Assert that the next event of all members with presence is the leave of this one."""
        if player in self.players:
            self.players.remove(player)
        await self.seen(Departed(player.peer))

    async def sees_end(self, player: Player) -> None:
        """Assert that a client whose connection is lost is held, or, where it cannot be, has left."""
        if self.can.held:
            await self.sees_hold(player)
        else:
            await self.sees_departure(player)
            self.players.append(player)

    async def sees_hold(self, player: Player) -> None:
        """Wait until the member list says that a player is held."""
        await eventually(lambda: self._held(player.peer))

    async def hears(self, *expected: Any, sender: Player | None = None) -> None:
        """Assert that the witness's next events are these messages of one sender."""
        for data in expected:
            assert await self.witness.next() == Heard(data, sender.peer if sender else self.witness_peer)

    async def members(self) -> dict[str, Json]:
        """Return the presence entries of the room by peer id."""
        response = await self.here.describe(quote(self.room, safe=""))
        return {member["peer"]: member for member in response["members"]}

    async def seen(self, event: Event) -> None:
        """Assert that this is the next event of all members with presence."""
        assert await self.witness.next() == event
        if self.can.presence:
            for player in self.players:
                assert await player.driver.next() == event

    async def _arrive(self, driver: ClientDriver, opened: Opened) -> Player:
        arrived = await self.witness.next()
        assert isinstance(arrived, Arrived), arrived
        assert opened.peer in ("", arrived.peer)
        if self.can.presence:
            for player in self.players:
                assert await player.driver.next() == arrived
        self.players.append(Player(driver, arrived.peer))
        return self.players[-1]

    async def _held(self, peer: str) -> bool:
        return bool((await self.members())[peer].get("held"))


async def is_closed(player: Player) -> None:
    """Read to the end of a connection that the relay closes, or that is lost."""
    while not isinstance(await player.driver.next(), Closed):
        pass
