import pytest

from relay.gateways.websync.session import WebSyncSession
from relay.model.errors import KICKED
from tests.tokens import SECRET, token
from tests.unit.gateways.websync.site import Page, seed, site


async def test_a_page_that_loads_again_is_the_same_client_with_another_session() -> None:
    async with site() as here:
        page, again = Page(here), Page(here)
        await page.join()
        assert (await again.handshake(page))["clientId"] == page.client
        assert again.session != page.session
        assert await here.peers() == {page.client: False}
        # Those of the earlier page are not served any more.
        [reply] = await page.send(page.connect())
        assert reply["error"].startswith("604::unknown_session")
        assert reply["advice"] == {"reconnect": "handshake"}


async def test_unacknowledged_messages_come_again_after_the_next_handshake() -> None:
    async with site() as here:
        page, again, other = Page(here), Page(here), Page(here)
        await page.join()
        await other.join()
        for number in range(3):
            await other.publish(seed(number))
        assert len(await page.hear()) >= 3
        await again.join(before=page)
        deliveries = await again.hear(acknowledges=False)
        assert [one["data"]["text"] for one in deliveries if one["channel"] == "/chat"] == [
            seed(number)["text"].replace(" ", "") for number in range(3)
        ]


async def test_acknowledged_messages_do_not_come_again() -> None:
    async with site() as here:
        page, again, other = Page(here), Page(here), Page(here)
        await page.join()
        await other.join()
        await other.publish(seed("had"))
        await page.hear(acknowledges=False)
        request, task = page.start(page.connect(acknowledges=True))
        await here.worker.publish_from_server("default", b'{"channel":"/chat","message":"new"}')
        await task
        assert b'"data":"new"' in request.response.body
        await again.join(before=page)
        deliveries = await again.hear(acknowledges=False)
        assert [one["data"] for one in deliveries if one["channel"] == "/chat"] == ["new"]


async def test_a_place_is_not_given_to_another_client() -> None:
    async with site() as here:
        page, thief = Page(here), Page(here)
        await page.join()
        for session in ("nonsense", "", f"{page.session[:-4]}AAAA"):
            thief.client, thief.session = page.client, session
            assert (await Page(here).handshake(thief))["clientId"] != page.client
        other = Page(here)
        await other.join()
        thief.client, thief.session = page.client, other.session
        assert (await Page(here).handshake(thief))["clientId"] != page.client


async def test_a_place_that_has_ended_is_free_for_its_client() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        await page.send(page.message("/meta/disconnect"))
        again = Page(here)
        assert (await again.handshake(page))["clientId"] == page.client


async def test_a_client_that_was_put_out_is_told_so_once() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        for session in [*here.state.sessions._sessions.values()]:
            assert isinstance(session, WebSyncSession)
            session.connection.close(KICKED)
        [reply] = await page.send(page.connect())
        assert "session_ended: kicked" in reply["error"]
        reply = await Page(here).handshake(page)
        assert reply["error"].startswith("801::session_ended: kicked")


async def test_a_client_that_cannot_poll() -> None:
    async with site() as here:
        page = Page(here)
        [reply] = await page.send(page.message("/meta/handshake", supportedConnectionTypes=["websocket"]))
        assert reply["error"].startswith("801::no_common_connection_type")


async def test_the_token_of_the_handshake_counts_for_all_requests() -> None:
    async with site(auth="required", auth_secret=SECRET) as here:
        page, witness = Page(here), Page(here)
        assert (await page.handshake())["error"].startswith("801::token_required")
        assert (await page.handshake(token="nonsense"))["error"].startswith("801::bad_token")
        able = token(rooms=[{"room": "default", "can": ["join", "publish"]}])
        assert (await witness.handshake(token=able))["successful"]
        [reply] = await witness.send(witness.message("/meta/subscribe", subscription=["/chat", "/fm/subscribers/chat"]))
        # It may not see the others, and hears them all the same.
        assert reply["successful"]
        assert reply["error"].startswith("721::not_granted")
        assert (await page.handshake(token=token(rooms=[{"room": "default", "can": ["join"]}])))["successful"]
        assert (await page.publish(seed(1)))["error"].startswith("731::not_granted")
        assert (await page.handshake(token=able))["successful"]
        assert (await page.publish(seed(2)))["successful"]
        deliveries = await witness.hear()
        assert [one["data"]["username"] for one in deliveries] == [5]


async def test_the_token_names_the_client() -> None:
    async with site(auth="required", auth_secret=SECRET) as here:
        page = Page(here)
        reply = await page.handshake(token=token(sub="ann", rooms=[{"room": "default", "can": ["join"]}]))
        assert reply["clientId"].endswith(".ann")
        assert list(await here.peers()) == ["ann"]


async def test_the_address_may_name_the_peer() -> None:
    async with site() as here:
        page = Page(here, query="&peer=ann")
        assert (await page.join())["clientId"].endswith(".ann")
        assert list(await here.peers()) == ["ann"]
        assert (await Page(here, query="&peer=ann").handshake())["error"].startswith("701::peer_taken")
        assert (await Page(here, query="&peer=ann").handshake(page))["clientId"] == page.client


@pytest.mark.parametrize("path", ["/rooms/a%20b/websync.ashx", "/websync.ashx"])
async def test_rooms_are_apart(path: str) -> None:
    async with site() as here:
        page = Page(here, path)
        await page.join()
        room = "a%20b" if "rooms" in path else "default"
        assert list(await here.peers(room)) == [page.client]
