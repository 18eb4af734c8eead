"""strophe.js with its MUC plugin in Chromium, unmodified, over WebSocket and over BOSH, on two workers."""

import re

import pytest

from tests.browser.conftest import OpenTab, Tab
from tests.documentation import snippet
from tests.fleet import Client, Relay

pytestmark = pytest.mark.asyncio(loop_scope="session")

Fleet = tuple[Relay, Relay]
TRANSPORTS = ("websocket", "bosh")


def address(relay: Relay, transport: str) -> str:
    return f"{relay.ws}/xmpp-websocket" if transport == "websocket" else f"{relay.http}/http-bind"


async def enter(open_tab: OpenTab, site: str, relay: Relay, transport: str, nick: str, **options: bool) -> Tab:
    """Open a page that enters the room, whose name is that of the transport."""
    tab = await open_tab(f"{site}/pages/strophe.html", strict=False)
    await tab.until("window.Strophe !== undefined && window.enter !== undefined")
    room = f"strophe-{transport}@conference.localhost"
    await tab.run("([url, room, nick, options]) => enter(url, room, nick, options)",
                  [address(relay, transport), room, nick, options])  # fmt: skip
    await tab.until("present[`${window.room}/${window.nick}`] === ''", timeout=40)
    return tab


@pytest.mark.smoke
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_two_pages_and_a_plain_websocket_are_in_one_room(
    open_tab: OpenTab, site: str, fleet: Fleet, transport: str
) -> None:
    native = await Client.open(f"{fleet[1].ws}/rooms/strophe-{transport}?peer=nat&presence=1")
    ann = await enter(open_tab, site, fleet[0], transport, "ann")
    ben = await enter(open_tab, site, fleet[1], transport, "ben")
    await ann.until("roster?.length === 3")
    await ann.run("void connection.muc.groupchat(room, 'hello \\u2603 <&>')")
    for tab in (ann, ben):
        found = await tab.until("heard.find((one) => one.body === 'hello \\u2603 <&>')")
        assert found["from"].endswith("/ann")
    assert (await native.until(lambda event: "message" in event))[-1]["message"] == "hello \u2603 <&>"
    await native.send({"sender": 1, "channel": "c", "message": {"sdp": "v=0"}})
    for tab in (ann, ben):
        await tab.until(
            """heard.some((one) => one.from.endsWith('/nat') && JSON.parse(one.body).message.sdp === 'v=0')"""
        )
    await ben.run("void connection.muc.message(room, 'ann', 'psst', null, 'chat')")
    assert (await ann.until("heard.find((one) => one.body === 'psst')"))["from"].endswith("/ben")
    # The plugin changes the nick, and leaves; its callback comes with the answer to the same id.
    await ben.run("void connection.muc.changeNick(room, 'ben 2')")
    await ann.until("present[`${room}/ben`] === 'unavailable' && present[`${room}/ben 2`] === ''")
    await ben.run("void connection.muc.leave(room, 'ben 2', () => (window.gone = true))")
    await ben.until("window.gone")
    await ann.until("present[`${room}/ben 2`] === 'unavailable'")
    await ann.run("connection.disconnect()")
    assert (await native.until(lambda event: event.get("left") == ["ann"]))[-1]["left"] == ["ann"]
    await native.close()


async def test_a_page_that_is_loaded_anew_goes_on_over_bosh(open_tab: OpenTab, site: str, fleet: Fleet) -> None:
    """Strophe keeps the session's id and number, and restores the session; the others see no leave."""
    native = await Client.open(f"{fleet[1].ws}/rooms/strophe-bosh?peer=nat2&presence=1")
    tab = await enter(open_tab, site, fleet[0], "bosh", "kept", keepalive=True)
    await tab.page.reload()
    await tab.until("window.Strophe !== undefined && window.enter !== undefined")
    await tab.run(
        """(url) => {
          window.connection = new Strophe.Connection(url, { keepalive: true });
          connection.restore('localhost', (status) => statuses.push(status));
          connection.addHandler((message) => heard.push(text(message, 'body')), null, 'message');
        }""",
        address(fleet[0], "bosh"),
    )
    await tab.until("statuses.includes(Strophe.Status.ATTACHED)")
    await native.send({"message": "after"})
    await tab.until("heard.some((body) => body?.includes('after'))")
    await tab.run("connection.disconnect()")
    events = await native.until(lambda event: event.get("left") == ["kept"])
    # It joined once, and left once.
    assert [event for event in events if event.get("joined") == ["kept"]] == events[:1]
    await native.close()


async def test_a_page_that_is_loaded_anew_resumes_its_stream_over_a_websocket(
    open_tab: OpenTab, site: str, fleet: Fleet
) -> None:
    """Strophe keeps the stream's id; the page is on another worker then, and gets what it missed, once."""
    native = await Client.open(f"{fleet[1].ws}/rooms/strophe-websocket?peer=nat3&presence=1")
    tab = await enter(open_tab, site, fleet[0], "websocket", "loaded", enableStreamManagement=True)
    await native.until(lambda event: event.get("joined") == ["loaded"])
    await native.send({"message": "before"})
    await tab.until("heard.some(({ body }) => body?.includes('before'))")
    await tab.page.reload()
    await tab.until("window.Strophe !== undefined && window.enter !== undefined")
    await native.send({"message": "missed"})
    await tab.run(
        """(url) => {
          window.connection = new Strophe.Connection(url, { enableStreamManagement: true });
          connection.addHandler((message) => heard.push(text(message, 'body')), null, 'message');
          connection.connect('localhost', null, (status) => statuses.push(status));
        }""",
        address(fleet[1], "websocket"),
    )
    await tab.until("heard.some((body) => body?.includes('missed'))")
    assert await tab.run("connection.hasResumed()")
    await native.send({"message": "after"})
    await tab.until("heard.some((body) => body?.includes('after'))")
    assert await tab.run("heard.filter((body) => body?.includes('message')).length") == 2
    await tab.run("connection.disconnect()")
    events = await native.until(lambda event: event.get("left") == ["loaded"])
    # It neither left nor joined before.
    assert [event for event in events if event.get("joined") or event.get("left")] == events[-1:]
    await native.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_datachannel_over_a_muc_room(open_tab: OpenTab, site: str, fleet: Fleet, transport: str) -> None:
    """The snippet of the documentation: the seed's `openSignalingChannel`, with two pages on different workers."""
    tabs = []
    for relay in fleet:
        tab = await open_tab(f"{site}/pages/strophe.html", strict=False)
        script = re.sub(r"</?script>", "", snippet("xmpp-channel"))
        script = script.replace("ws://localhost:8888/xmpp-websocket", address(relay, transport))
        await tab.page.add_script_tag(content=script.replace("lobby@", f"channel-{transport}@"))
        await tab.run(
            """() => {
              window.channel = new DataChannel();
              channel.openSignalingChannel = openSignalingChannel;
              channel.onopen = (userid) => opened.push(userid);
              channel.onmessage = (message) => heard.push(message);
            }"""
        )
        tabs.append(tab)
    a, b = tabs
    # The text of a chat does not end the channel: the sender hears it as well.
    await a.run(
        """inside.then(() => {
          xmpp.send(new Strophe.Builder('message', { to: room, type: 'groupchat' }).c('body').t('no JSON'));
        })"""
    )
    await a.run("void channel.open('a-room')")
    await b.run("void channel.connect('a-room')")
    for tab in tabs:
        await tab.until("opened.length > 0", timeout=60)
    await a.run("channel.send('from a: \\u2603')")
    await b.run("channel.send('from b')")
    assert await b.until("heard[0]") == "from a: \u2603"
    assert await a.until("heard[0]") == "from b"
