import json
from typing import Any

import pytest

from relay.gateways.websync.client_ids import client_id
from relay.model.errors import Refused
from tests.unit.gateways.websync.site import CHANNEL, SUBSCRIBERS, Page, seed, site


async def test_a_join_tells_and_is_told_of_the_others() -> None:
    async with site() as here:
        ann, ben = Page(here), Page(here)
        assert (await ann.join("ann"))["ext"] == {"fm.tag": "", "fm.subscribers": {CHANNEL: []}}
        [other] = (await ben.join("ben"))["ext"]["fm.subscribers"][CHANNEL]
        assert other == {"clientId": ann.client, "boundRecords": {"fm.chat.userId/chat": "ann"}}
        [told] = await ann.hear()
        assert (told["channel"], told["data"]["type"]) == (SUBSCRIBERS, "subscribe")
        assert told["data"]["client"] == {"clientId": ben.client, "boundRecords": {"fm.chat.userId/chat": "ben"}}


async def test_a_leave_is_told_with_the_records_from_before() -> None:
    async with site() as here:
        ann, ben = Page(here), Page(here)
        await ann.join("ann")
        await ben.join("ben")
        await ann.hear()
        unsubscribe = ben.message("/meta/unsubscribe", subscription=[CHANNEL, SUBSCRIBERS], ext={"fm.tag": ""})
        unbind = ben.message("/meta/unbind", binding=[{"key": "fm.chat.userId/chat"}])
        replies = await ben.send(unsubscribe, unbind)
        assert [one["successful"] for one in replies] == [True, True]
        assert replies[0]["subscription"] == [CHANNEL, SUBSCRIBERS]
        assert replies[1]["binding"] == [{"key": "fm.chat.userId/chat"}]
        [told] = await ann.hear()
        assert told["data"]["type"] == "unsubscribe"
        assert told["data"]["client"]["boundRecords"] == {"fm.chat.userId/chat": "ben"}


async def test_a_publication_reaches_its_publisher_and_members_of_all_protocols() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        assert (await page.publish({"any": 1}))["successful"]
        [delivery] = await page.hear()
        assert delivery["data"] == {"any": 1}
        assert delivery["ext"]["fm.publishing"] == {
            "clientId": page.client, "boundRecords": {"fm.chat.userId/chat": "7"},
        }  # fmt: skip


async def test_a_publication_that_comes_again_is_published_once() -> None:
    async with site(extensions={"websync_timeout": 0.1}) as here:
        page = Page(here)
        await page.join()
        message = page.message(CHANNEL, data=seed(1))
        for _ in range(2):
            [reply] = await page.send(message)
            assert reply["successful"]
        assert len(await page.hear()) == 1
        again = Page(here)
        await again.join(before=page)
        # Ids begin anew with each page.
        again.counter = int(message["id"]) - 1
        assert (await again.publish(seed(2)))["successful"]
        assert "2" in (await again.hear())[-1]["data"]["text"]


async def test_messages_of_one_request_are_carried_out_in_order() -> None:
    async with site() as here:
        page = Page(here)
        await page.handshake()
        replies = await page.send(
            page.message("/meta/subscribe", subscription=[CHANNEL]),
            *(page.message(CHANNEL, data=number) for number in range(3)),
        )
        assert [one["id"] for one in replies] == [str(number) for number in range(2, 6)]
        assert all(one["successful"] for one in replies)
        assert [one["data"] for one in await page.hear()] == [0, 1, 2]


async def test_notifications() -> None:
    async with site() as here:
        ann, ben = Page(here), Page(here)
        await ann.join("ann")
        await ben.join("ben")
        await ben.send(ben.message("/meta/unsubscribe", subscription=[SUBSCRIBERS]))
        [reply] = await ann.send(ann.message("/meta/notify", data={"n": 1}, ext={"fm.notify": ben.client}))
        assert reply["successful"]
        [delivery] = await ben.hear()
        assert (delivery["channel"], delivery["data"]) == ("/meta/notify", {"n": 1})
        assert delivery["ext"]["fm.notifying"]["clientId"] == ann.client
        [reply] = await ann.send(ann.message("/meta/notify", data=1, ext={"fm.notify": client_id("nobody")}))
        assert reply["error"].startswith("781::no_such_peer")


async def test_the_service_tells_whether_a_name_is_in_use() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        await page.publish(seed(1, "used"))
        for data, present in (("used", True), ({"channel": "used"}, True), ("unused", False)):
            [reply] = await page.send(page.message("/service/presence", data=data))
            assert reply["data"] == {"present": present}
        for channel, data, error in (
            ("/service/presence", 5, "901::bad_command"),
            ("/service/other", "x", "901::unknown_service"),
        ):
            [reply] = await page.send(page.message(channel, data=data))
            assert reply["error"].startswith(error)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/meta/bind", {"binding": [{"key": "k", "value": "x" * 1100}]}, "761::bad_info"),
    ("/meta/bind", {"binding": "x"}, "761::bad_command"),
    ("/meta/unbind", {"binding": [{"value": 1}]}, "771::bad_command"),
    ("/meta/subscribe", {"subscription": ["chat"]}, "721::bad_channel"),
    ("/meta/subscribe", {"subscription": ["/meta/connect"]}, "721::bad_channel"),
    ("/meta/subscribe", {"subscription": ["/fm/other"]}, "721::bad_channel"),
    ("/meta/subscribe", {"subscription": [f"/{'x' * 1000}"]}, "721::bad_channel"),
    ("/meta/subscribe", {"subscription": [{}]}, "721::bad_command"),
    ("/meta/subscribe", {"subscription": ["/x"], "ext": {"fm.tag": "x" * 256}}, "721::bad_command"),
    ("/meta/unsubscribe", {"subscription": 5}, "741::bad_command"),
    ("/meta/unsubscribe", {"subscription": ["/x"], "ext": {"fm.tag": "x" * 256}}, "741::bad_command"),
    ("/meta/notify", {"data": 1}, "781::bad_peer"),
    ("/meta/notify", {"data": 1, "ext": {"fm.notify": 5}}, "781::bad_peer"),
    ("/meta/nothing", {}, "731::bad_command"),
    ("/meta/connect", {}, "711::bad_command"),
    ("/meta/handshake", {}, "701::bad_command"),
    ("/fm/subscribers/chat", {"data": 1}, "731::bad_channel"),
    ("/fm/x", {"data": 1}, "731::bad_channel"),
    ("chat", {"data": 1}, "731::bad_channel"),
    ("/service/x", {}, "901::unknown_service"),
    ("/chat", {"data": "x" * 2000}, "731::too_large"),
]


@pytest.mark.parametrize(("channel", "fields", "error"), BAD, ids=[f"{one[0]} {one[2]}" for one in BAD])
async def test_a_bad_message_of_each_class_is_answered_and_harms_no_other(
    channel: str, fields: dict[str, Any], error: str
) -> None:
    async with site(max_message=1024) as here:
        page = Page(here)
        await page.join()
        bad = page.message(channel, **{"ext": None} | {name: text for name, text in fields.items() if name != "ext"})
        bad["ext"] = {**fields.get("ext", {}), "fm.sessionId": page.session}
        replies = await page.send(bad, page.message(CHANNEL, data="good"))
        assert [one["id"] for one in replies] == [bad["id"], str(page.counter)]
        assert (replies[0]["successful"], replies[1]["successful"]) == (False, True)
        assert replies[0]["error"].startswith(error), replies[0]
        assert [one["data"] for one in await page.hear()] == ["good"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"clientId": ""}, "603::no_client_id"), ({"ext": {}}, "605::no_session_id"),
        ({"clientId": "x"}, "604::unknown_session"), ({"ext": {"fm.sessionId": "x"}}, "604::unknown_session"),
        ({"ext": {"fm.sessionId": 5}}, "605::no_session_id"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channel", ["/chat", "/meta/connect", "/meta/bind", "/service/presence"])
async def test_messages_of_clients_that_are_not_known(channel: str, changed: dict[str, Any], error: str) -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        [reply] = await page.send(page.message(channel) | {"data": "x"} | changed)
        assert reply["error"].startswith(error)
        if error.startswith("604"):
            # Without it, the client repeats its connect at full speed.
            assert reply["advice"] == {"reconnect": "handshake"}


async def test_subscriptions_that_are_too_many_or_change_too_fast() -> None:
    async with site(channels_per_room=2) as here:
        page = Page(here)
        await page.join()
        [reply] = await page.send(page.message("/meta/subscribe", subscription=["/x"]))
        assert reply["error"].startswith("721::too_many_channels")
        replies = []
        for number in range(10):
            replies += await page.send(page.message("/meta/bind", binding=[{"key": "k", "value": number}]))
        assert replies[0]["successful"]
        assert replies[-1]["error"].startswith("761::too_fast")
        # A refused record has not changed: others see those that were shown before.
        info = json.loads(next(iter((await here.worker.roster("default")).members)).info)
        assert info["websync"]["records"]["k"] == sum(one["successful"] for one in replies) - 1


async def test_a_message_whose_client_id_is_no_id_harms_no_other() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        bad = page.message(CHANNEL, data=1) | {"clientId": "x" * 300}
        replies = await page.send(bad, page.message(CHANNEL, data=2))
        assert [one["successful"] for one in replies] == [False, True]
        assert replies[1]["data"] == 2


async def test_the_lists_of_one_request_have_as_many_subscribers_as_one_list() -> None:
    async with site(presence_list_limit=3) as here:
        others = [Page(here) for _ in range(2)]
        for other in others:
            await other.join()
            await other.send(other.message("/meta/subscribe", subscription=["/x", "/y"]))
        page = Page(here)
        await page.handshake()
        subscribe = page.message("/meta/subscribe", subscription=[CHANNEL, "/x", "/y"])
        again = page.message("/meta/subscribe", subscription=["/x"])
        lists = [one["ext"]["fm.subscribers"] for one in await page.send(subscribe, again)]
        assert [*lists[0]] == [CHANNEL, "/x", "/y"]
        assert sum(len(listed) for one in lists for listed in one.values()) == 3


async def test_goodbyes_have_the_rate_of_http_requests_and_count_once_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as here:
        page, counted = Page(here), 0
        await page.handshake()
        await page.send(page.message("/meta/disconnect"))

        async def admit(_: str) -> None:
            nonlocal counted
            counted += 1
            if counted > 1:
                raise Refused("too_many_requests")

        monkeypatch.setattr(here.worker.requests, "admit", admit)
        # The client is gone: any worker carries it out, by the key.
        replies = await page.send(*[page.message("/meta/disconnect") for _ in range(50)])
        assert (counted, all(one["successful"] for one in replies)) == (1, True)
        [reply] = await page.send(page.message("/meta/disconnect"))
        assert "too_many_requests" in reply["error"]


async def test_a_goodbye_behind_one_that_has_failed_is_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(reconnect_grace=60) as here:
        page, tried = Page(here), 0
        await page.handshake()
        # As on another worker than that of the client.
        monkeypatch.setattr(here.state.sessions, "get", lambda _: None)

        async def away(*_: object, **__: object) -> None:
            nonlocal tried
            tried += 1
            raise Refused("unavailable")

        monkeypatch.setattr("relay.gateways.websync.entrance.leave", away)
        replies = await page.send(*[page.message("/meta/disconnect") for _ in range(2)])
        assert (tried, [one["successful"] for one in replies]) == (2, [False, False])
