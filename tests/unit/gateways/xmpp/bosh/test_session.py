import asyncio
import re

from relay.gateways.xmpp.bosh.session import MAX_PAUSE
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.xmpp.bosh.site import Client, Site, answer, response, site
from tests.unit.gateways.xmpp.bosh.test_keys import sequence
from tests.unit.gateways.xmpp.streams import ROOM, message, presence


async def texts_until(client: Client, last: str) -> list[str]:
    """Poll for bodies of messages until this one."""
    found: list[str] = []
    while last not in found:
        for one in (await client.ask()).children:
            found += [child.text for child in one.children if child.name == "body"]
    return found


async def two(here: Site) -> tuple[Client, Client]:
    ann, ben = await Client(here).enter("ann"), await Client(here).enter("ben")
    await ann.until("presence")
    return ann, ben


async def test_a_request_waits_for_the_next_element() -> None:
    async with site() as here:
        ann, ben = await two(here)
        waiting = ann.start()
        await until(lambda: _is_held(here))
        await ben.ask(message("hello"))
        (heard,) = (await answer(waiting)).children
        assert (heard.get("from"), heard.children[0].text) == (f"{ROOM}/ben", "hello")


async def test_a_request_with_elements_releases_the_one_that_waits() -> None:
    async with site() as here:
        client = await Client(here).enter("ann")
        older = client.start()
        await until(lambda: _is_held(here))
        newer = client.start('<iq type="get" id="q"><ping xmlns="urn:xmpp:ping"/></iq>')
        (pong,) = (await answer(older)).children
        assert (pong.name, pong.get("id")) == ("iq", "q")
        assert not newer[1].done()
        newer[0].drop()


async def test_requests_are_served_in_the_order_of_their_ids() -> None:
    async with site() as here:
        ann, ben = await two(here)
        rid = ann.rid
        late = ann.start(message("second"), rid=rid + 1)
        await asyncio.sleep(0)
        assert not late[1].done()
        first = ann.start(message("first"), rid=rid)
        assert await texts_until(ben, "second") == ["first", "second"]
        ann.rid += 2
        await response(first)
        late[0].drop()


async def test_a_repeated_request_gets_the_same_answer_and_is_not_carried_out_again() -> None:
    async with site() as here:
        ann, ben = await two(here)
        rid = ann.rid
        first = await response(ann.start(message("once")))
        again = await response(ann.start(message("once"), rid=rid))
        assert first.body == again.body != b""
        await ann.ask(message("end"))
        assert await texts_until(ben, "end") == ["once", "end"]


async def test_a_request_whose_connection_was_lost_is_repeated() -> None:
    async with site() as here:
        ann, ben = await two(here)
        rid = ann.rid
        lost = ann.start()
        await until(lambda: _is_held(here))
        lost[0].drop()
        await lost[1]
        await ben.ask(message("kept"))
        (heard,) = (await ann.ask(rid=rid)).children
        assert heard.children[0].text == "kept"


async def test_a_copy_of_a_request_that_waits_takes_its_place() -> None:
    async with site() as here:
        ann, ben = await two(here)
        rid = ann.rid
        older = ann.start()
        await until(lambda: _is_held(here))
        copy = ann.start(rid=rid)
        assert (await answer(older)).children == []
        await ben.ask(message("hello"))
        assert (await answer(copy)).children[0].name == "message"


async def test_another_request_with_a_known_id_and_one_far_ahead_end_the_session() -> None:
    for offset, content in ((-1, message("other")), (2, ""), (-3, "")):
        async with site() as here:
            client = await Client(here).enter("ann")
            root = await client.ask(content, rid=client.rid + offset)
            assert (root.get("type"), root.get("condition")) == ("terminate", "item-not-found")
            await until(lambda: not len(here.sessions))
            assert await here.peers() == []
            assert (await client.ask()).get("condition") == "item-not-found"


async def test_a_client_says_goodbye() -> None:
    async with site() as here:
        ann, ben = await two(here)
        waiting = ann.start()
        await until(lambda: _is_held(here))
        root = await ann.ask(message("bye") + presence("ann", kind="unavailable"), 'type="terminate"')
        assert (root.get("type"), root.get("condition")) == ("terminate", "")
        await response(waiting)
        assert [one.get("type") for one in await ben.until("presence")] == ["groupchat", "unavailable"]
        assert await here.peers() == ["ben"]


async def test_a_client_that_sends_nothing_is_lost() -> None:
    async with site(extensions={"bosh_inactivity": 1.0}) as here:
        await Client(here).enter("ann")
        await until(lambda: not len(here.sessions))
        assert await here.peers() == []


async def test_a_client_that_pauses_is_not() -> None:
    async with site(extensions={"bosh_inactivity": 1.0}) as here:
        ann = await Client(here).enter("ann")
        ben = Client(here)
        held = ann.start()
        await until(lambda: _is_held(here))
        assert (await ann.ask("", 'pause="60"')).children == []
        assert (await answer(held)).children == []
        # Another client is lost in the same time.
        await ben.log_in()
        await until(lambda: len(here.sessions) == 1)
        assert await here.peers() == ["ann"]
        assert (await ann.ask("", f'pause="{MAX_PAUSE + 1}"')).get("condition") == "policy-violation"


async def test_the_end_of_a_pause() -> None:
    async with site(extensions={"bosh_inactivity": 1.0}) as here:
        ann = await Client(here).enter("ann")
        await ann.ask("", 'pause="1"')
        await until(lambda: not len(here.sessions))


async def test_a_client_that_polls_gets_answers_at_once() -> None:
    async with site() as here:
        client = await Client(here).begin('wait="5" hold="0"')
        assert client.greeting is not None
        assert client.greeting.get("hold") == "0"
        assert (await client.ask()).children == []


async def test_a_client_that_asks_too_often_is_ended() -> None:
    async with site(http_rate=1) as here:
        client = await Client(here).begin('wait="0"')
        # As many requests of the address wait as may.
        others = [asyncio.create_task(here.worker.requests.admit("10.0.0.1")) for _ in range(5)]
        await asyncio.sleep(0)
        assert (await client.ask()).get("condition") == "policy-violation"
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def test_keys_of_a_client() -> None:
    async with site() as here:
        keys = sequence("seed", 4)
        client = await Client(here).begin(f'wait="0" newkey="{keys[0]}"')
        assert (await client.ask("", f'key="{keys[1]}"')).get("type") == ""
        assert (await client.ask("", f'key="{keys[1]}"')).get("condition") == "item-not-found"


async def test_a_worker_that_stops_ends_the_session() -> None:
    async with site() as here:
        ann, ben = await Client(here).enter("ann"), await Client(here).enter("ben")
        await ann.until("presence")
        waiting = ann.start()
        await until(lambda: _is_held(here))
        here.worker.clients.close_all(GOING_AWAY)
        # The other client has no request open: the next one brings the end.
        for root in (await answer(waiting), await ben.ask()):
            assert (root.get("type"), root.get("condition")) == ("terminate", "remote-stream-error")
            assert root.children[-1].children[0].name == "system-shutdown"
        assert len(here.sessions) == 0


async def test_broken_stanzas_end_the_session() -> None:
    async with site() as here:
        client = await Client(here).begin()
        root = await client.ask("<message/>")
        assert root.get("condition") == "remote-stream-error"
        assert re.search("not-authorized", root.children[0].children[0].name)


async def test_copies_of_requests_that_wait_for_another_are_bounded() -> None:
    async with site() as here:
        client = await Client(here).enter("ann")
        copies = [client.start(rid=client.rid + 1) for _ in range(5)]
        async with asyncio.timeout(10):
            await asyncio.gather(*(task for _, task in copies))
        conditions = [(await answer(one)).get("condition") for one in copies]
        assert conditions == ["item-not-found"] * 5
        assert len(here.sessions) == 0


def _is_held(here: Site) -> bool:
    return any(not one._polling.idle for one in here.sessions._sessions.values())
