"""The answers to a client without, with a wrong, with an expired and with a too narrow token, in each protocol.

Every row of the behaviour table is asked each question, and an observer is as well. The relays are alone, without
Redis: a worker checks tokens by itself.
"""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from _pytest.mark import ParameterSet

from tests.fleet import Relay
from tests.gateways.driver import Arrived, ClientDriver, Closed, Departed, Heard, NotAdmitted, Refused
from tests.gateways.drivers.native import NativeDriver
from tests.gateways.drivers.observer import ObserverDriver
from tests.gateways.rows import ROWS, Row
from tests.tokens import SECRET, token

OTHER_SECRET = "another-secret-0123456789abcdef-another"
DEFAULT_ROOM = "default"
"""Topics are below the room of the client's address, which a token has to grant as well."""

OBSERVER = Row("observer", "native", ObserverDriver)
ALL_ROWS = [*ROWS, OBSERVER]
_rooms = (f"room-{number}" for number in itertools.count())


def grant(room: str, *can: str) -> list[dict[str, Any]]:
    """The claim `rooms` that lets a client do these things in one room, and enter the default room."""
    return [{"room": room, "can": [*can]}, {"room": DEFAULT_ROOM, "can": ["join"]}]


MEMBER = ("join", "publish", "send-direct", "presence")


class Case(NamedTuple):
    """A client that is not let in: its token, and the code of the error."""

    name: str
    token: str
    code: str


def cases(room: str, row: Row) -> Sequence[Case]:
    able = ("observe", "presence") if row is OBSERVER else MEMBER
    other = [one for one in (*MEMBER, "observe", "kick") if one != able[0]]
    return [
        Case("none", "", "token_required"),
        Case("wrong", token(OTHER_SECRET, rooms=grant(room, *able)), "bad_token"),
        Case("no token at all", "nonsense", "bad_token"),
        Case("expired", token(ttl=-5, rooms=grant(room, *able)), "token_expired"),
        Case("not yet valid", token(nbf=32503680000, rooms=grant(room, *able)), "token_not_yet_valid"),
        Case("for another room", token(rooms=grant(f"{room}-other", *able)), "not_granted"),
        Case("for other things", token(rooms=grant(room, *other)), "not_granted"),
    ]


def parameter(row: Row) -> ParameterSet:
    return pytest.param(row, id=row.name, marks=[] if row.quick else pytest.mark.gateways)


@pytest.fixture(scope="module")
def relays() -> Iterator[dict[str, Relay]]:
    """One relay that asks for tokens, one that takes them but not from addresses, and one that reads none."""
    common: dict[str, Any] = {"default_room": DEFAULT_ROOM, "token_attempts": 1000, "reconnect_grace": 60}
    tokens = {"auth_secret": SECRET, "auth_leeway": 0, "url_tokens": "on"}
    relays = {
        "required": Relay(auth="required", **tokens, **common),
        "optional": Relay(auth="optional", **tokens | {"url_tokens": "off"}, **common),
        "off": Relay(auth="off", url_tokens="on", **common),
    }
    for relay in relays.values():
        asyncio.run(relay.ready())
    yield relays
    for relay in relays.values():
        relay.close()


class Stage:
    """Opens clients, and closes them at the end of the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.room = next(_rooms)

    async def enter(self, driver: ClientDriver, relay: Relay, token: str) -> ClientDriver:
        """Let a client enter the room with this token; raises `NotAdmitted`."""
        driver.token = token
        self._stack.push_async_callback(driver.drop)
        await driver.open(relay, self.room)
        return driver

    async def refusal(self, driver: ClientDriver, relay: Relay, token: str) -> str:
        """Return the code with which a client is refused."""
        with pytest.raises(NotAdmitted) as refused:
            await self.enter(driver, relay, token)
        return refused.value.code


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(stack)


rows = pytest.mark.parametrize("row", [*map(parameter, ALL_ROWS)])
member_rows = pytest.mark.parametrize("row", [*map(parameter, ROWS)])


@rows
@pytest.mark.parametrize("number", range(len(cases("", OBSERVER))), ids=[case.name for case in cases("", OBSERVER)])
async def test_a_client_that_may_not_enter_is_told_why(
    row: Row, number: int, relays: dict[str, Relay], stage: Stage
) -> None:
    case, driver = cases(stage.room, row)[number], row.driver()
    code = await stage.refusal(driver, relays["required"], case.token)
    assert code == (case.code if driver.can.refusal_named else "")
    if not driver.can.refusal_named:
        # The client is not told the code, but the operator is.
        assert await relays["required"].metric("relay_errors_total", protocol=row.protocol, code=case.code) >= 1


@rows
async def test_a_token_lets_a_client_enter(row: Row, relays: dict[str, Relay], stage: Stage) -> None:
    able = ("observe", "presence") if row is OBSERVER else MEMBER
    driver = await stage.enter(row.driver(), relays["required"], token(rooms=grant(stage.room, *able)))
    other = NativeDriver(driver.can.channel)
    await stage.enter(other, relays["required"], token(rooms=grant(stage.room, *MEMBER)))
    await other.send("hello")
    while isinstance(event := await driver.next(), Arrived):
        pass
    assert isinstance(event, Heard)
    assert event.data == "hello"


@rows
async def test_with_auth_off_tokens_are_not_read(row: Row, relays: dict[str, Relay], stage: Stage) -> None:
    if row is OBSERVER:
        # Observing needs the admin token, as ever.
        assert await stage.refusal(row.driver(), relays["off"], "nonsense") == "unauthorized"
    else:
        for given in ("nonsense", token(OTHER_SECRET), token(ttl=-5)):
            await stage.enter(row.driver(), relays["off"], given)


@rows
async def test_where_tokens_are_optional_a_client_without_one_is_a_guest(
    row: Row, relays: dict[str, Relay], stage: Stage
) -> None:
    """A wrong token makes nobody a guest; one in the address is not read here, as the setting does not allow it."""
    relay, driver = relays["optional"], row.driver()
    if row is OBSERVER:
        assert await stage.refusal(row.driver(), relay, "") == "unauthorized"
    else:
        await stage.enter(row.driver(), relay, "")
    if driver.can.url_token:
        await stage.enter(driver, relay, token(OTHER_SECRET))
    else:
        assert await stage.refusal(driver, relay, token(OTHER_SECRET)) == "bad_token"


@member_rows
async def test_the_token_decides_the_peer_id(row: Row, relays: dict[str, Relay], stage: Stage) -> None:
    witness = NativeDriver()
    await stage.enter(witness, relays["required"], token(rooms=grant(stage.room, *MEMBER)))
    await stage.enter(row.driver(), relays["required"], token(sub="Ann é", rooms=grant(stage.room, *MEMBER)))
    assert await witness.next() == Arrived("Ann%20%C3%A9")


@member_rows
async def test_a_client_that_may_only_join_is_told_so_when_it_sends(
    row: Row, relays: dict[str, Relay], stage: Stage
) -> None:
    driver = row.driver()
    witness = NativeDriver(driver.can.channel)
    await stage.enter(witness, relays["required"], token(rooms=grant(stage.room, *MEMBER)))
    await stage.enter(driver, relays["required"], token(rooms=grant(stage.room, "join")))
    if driver.can.presence:
        # The part of its request that it may not have is left out.
        assert await driver.next() == Refused("not_granted")
    await driver.send("not allowed")
    assert await driver.next() == Refused("not_granted")
    # It stays, and hears the others.
    await witness.send("hello")
    event = await driver.next()
    assert isinstance(event, Heard)
    assert event.data == "hello"


async def test_clients_whose_token_expires_are_closed_and_held_unless_they_send_a_newer_one(
    relays: dict[str, Relay],
) -> None:
    """All rows at once: each of them waits for the end of its token."""
    async with AsyncExitStack() as stack:
        expiring = [_expire(row, relays["required"], Stage(stack)) for row in ROWS if row.quick]
        await asyncio.gather(*expiring)


def _short(room: str) -> str:
    """A token that is good for two seconds at least: clients enter within these also on a busy machine."""
    return token(exp=math.ceil(time.time() + 2), rooms=grant(room, *MEMBER))


async def _expire(row: Row, relay: Relay, stage: Stage) -> None:
    witness, driver, wiser = NativeDriver(row.driver().can.channel), row.driver(), row.driver()
    await stage.enter(witness, relay, token(rooms=grant(stage.room, *MEMBER)))
    if wiser.can.refresh:
        await stage.enter(wiser, relay, _short(stage.room))
        assert isinstance(await witness.next(), Arrived)
        await wiser.refresh(token(rooms=grant(stage.room, *MEMBER)))
    await stage.enter(driver, relay, _short(stage.room))
    arrived = await witness.next()
    assert isinstance(arrived, Arrived)
    assert await driver.next() == Refused("token_expired"), row.name
    assert await driver.next() == Closed(), row.name
    if not driver.can.held:
        assert await witness.next() == Departed(arrived.peer), row.name
    driver.token = token(rooms=grant(stage.room, *MEMBER))
    back = await driver.open(relay, stage.room)
    assert back.resumed is driver.can.resume, row.name
    if not back.resumed:
        # As another member; where the first one was held, its leave was not published before.
        assert isinstance(await witness.next(), Arrived), row.name
    if wiser.can.refresh:
        await wiser.send("still here")
        event = await witness.next()
        assert isinstance(event, Heard), row.name
        assert event.data == "still here"
