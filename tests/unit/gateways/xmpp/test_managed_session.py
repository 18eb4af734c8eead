"""Streams that are managed, lost and resumed."""

import asyncio
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.xmpp.reading import Element
from relay.ids import fingerprint
from relay.model.codec import Frame
from relay.model.errors import OutcomeUnknown, Refused, RelayError
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.xmpp.streams import CLOSE, OPEN, ROOM, Stream, auth, code, message, plain, presence

ENABLE = '<enable xmlns="urn:xmpp:sm:3" resume="1"/>'


async def managed(worker: Worker, nick: str, credentials: str = "") -> tuple[Stream, str]:
    stream = await Stream(worker).log_in(credentials)
    await stream.send(ENABLE)
    (enabled,) = stream.elements()
    await stream.enter(nick)
    return stream, enabled.get("id")


async def resume(worker: Worker, key: str, count: int, credentials: str = "") -> Stream:
    stream = Stream(worker)
    await stream.session.greet()
    await stream.send(OPEN, credentials or auth("ANONYMOUS"))
    await stream.until("success")
    await stream.send(OPEN, f'<resume xmlns="urn:xmpp:sm:3" previd="{key}" h="{count}"/>')
    # The first answer, behind two times `open` and the features, and the success of the login.
    await until(lambda: len(stream.connection.frames) > 5)
    stream.skip(5)
    return stream


async def test_a_lost_client_is_held_and_gets_the_missed_messages(worker: Worker) -> None:
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    ann.lose(1001)
    await until_members(worker, "room", {"ann": True, "ben": False})
    await ben.send(message("one"), message("two"))
    await ben.until("body")
    # Its own presence, the subject, and that of ben.
    back = await resume(worker, key, 3)
    elements = await back.until("body")
    assert elements[0].name == "resumed"
    assert (elements[0].get("previd"), elements[0].get("h")) == (key, "1")
    await back.send(message("three"))
    await until(lambda: b"three" in back.connection.frames[-1].data)
    bodies = [child.text for one in [*elements, *back.elements()] for child in one.children if child.name == "body"]
    assert bodies == ["one", "two", "three"]
    await until_members(worker, "room", {"ann": False, "ben": False})
    assert not [one for one in ben.elements() if one.name == "presence"]


async def test_a_stream_is_resumed_again_and_again_and_replaces_the_socket_before(worker: Worker) -> None:
    ann, key = await managed(worker, "ann")
    second = await resume(worker, key, 2)
    await second.until("resumed")
    assert ann.connection.reason is not None
    third = await resume(worker, key, 2)
    await third.until("resumed")
    await third.send(message("hello"))
    await third.until("body")


async def test_of_two_resumptions_at_once_one_goes_on(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    await ben.send(message("missed"))
    await ben.until("body")
    both = asyncio.Barrier(2)
    newest_turn = worker.checkpoints.newest_turn

    async def when_both_have_begun(name: str) -> int:
        await both.wait()
        return await newest_turn(name)

    monkeypatch.setattr(worker.checkpoints, "newest_turn", when_both_have_begun)
    first, second = Stream(worker), Stream(worker)
    for stream in (first, second):
        await stream.session.greet()
        await stream.send(OPEN, auth("ANONYMOUS"))
        await stream.until("success")
    for stream in (first, second):
        await stream.send(OPEN, f'<resume xmlns="urn:xmpp:sm:3" previd="{key}" h="3"/>')
    await until(lambda: all(_outcome(one) for one in (first, second)))
    assert {_outcome(first), _outcome(second)} == {"resumed", "closed"}
    winner = first if _outcome(first) == "resumed" else second
    await winner.send(message("back"))
    bodies = [child.text for one in await _until_body(winner, "back") for child in one.children if child.name == "body"]
    assert bodies == ["missed", "back"]
    assert winner.connection.reason is None
    await until_members(worker, "room", {"ann": False, "ben": False})


async def test_a_resumption_that_is_not_the_newest_leaves_the_place_to_that(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer one has begun, and has not joined yet: the older one must not end the membership."""
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    newest_turn = worker.checkpoints.newest_turn

    async def when_another_has_begun(name: str) -> int:
        monkeypatch.undo()
        await worker.checkpoints.begin_turn(name)
        return await newest_turn(name)

    monkeypatch.setattr(worker.checkpoints, "newest_turn", when_another_has_begun)
    older = Stream(worker)
    await older.session.greet()
    await older.send(OPEN, auth("ANONYMOUS"))
    await older.until("success")
    await older.send(OPEN, f'<resume xmlns="urn:xmpp:sm:3" previd="{key}" h="3"/>')
    await until(lambda: older.connection.reason is not None)
    older.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    back = await resume(worker, key, 3)
    await back.until("resumed")
    assert not [one for one in ben.elements() if one.get("type") == "unavailable"]


async def test_a_message_that_comes_during_a_resumption_is_not_lost(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    newest_turn = worker.checkpoints.newest_turn

    async def when_ben_has_spoken(name: str) -> int:
        await ben.send(message("meanwhile"))
        await _until_body(ben, "meanwhile")
        return await newest_turn(name)

    monkeypatch.setattr(worker.checkpoints, "newest_turn", when_ben_has_spoken)
    back = await resume(worker, key, 3)
    bodies = [child.text for one in await _until_body(back, "meanwhile") for child in one.children]
    assert bodies.count("meanwhile") == 1


def _outcome(stream: Stream) -> str:
    texts = b"".join([frame.data for frame in stream.connection.frames])
    found = [name for name in ("resumed", "failed") if b"<%b " % name.encode() in texts]
    return "closed" if stream.connection.reason is not None else "".join(found)


async def test_a_stanza_that_is_sent_again_is_published_once(worker: Worker) -> None:
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    # Served, but not in the last checkpoint: as of a worker that is killed.
    kept = await worker.checkpoints.read(fingerprint(key))
    assert kept is not None
    await ann.send(message("once"))
    await ben.until("body")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    await worker.checkpoints.keep(fingerprint(key), *kept, (), 60)
    back = await resume(worker, key, 4)
    resumed = (await back.until("resumed"))[0]
    assert resumed.get("h") == "1"
    await back.send(message("once"), message("end"))
    bodies = [child.text for one in await _until_body(ben, "end") for child in one.children if child.name == "body"]
    assert bodies == ["end"]


async def test_a_stream_that_is_gone_is_not_resumed_and_its_place_is_the_clients(worker: Worker) -> None:
    ann, key = await managed(worker, "ann")
    ann.lose()
    await until_members(worker, "room", {"ann": True})
    await worker.checkpoints.drop(fingerprint(key))
    back = await resume(worker, key, 2)
    (failed,) = back.elements()
    assert failed.children[0].name == "item-not-found"
    await back.send('<iq type="set" id="b1"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>', ENABLE)
    await back.until("enabled")
    await back.send(presence("ann"))
    await back.until("subject")
    await until_members(worker, "room", {"ann": False})
    other = await Stream(worker).log_in()
    await other.send(presence("ann"))
    assert code((await other.until("error"))[-1]) == "peer_taken"


async def test_a_count_that_cannot_be_leads_to_a_new_stream(worker: Worker) -> None:
    ann, key = await managed(worker, "ann")
    ann.lose()
    await until_members(worker, "room", {"ann": True})
    back = await resume(worker, key, 99)
    assert (await back.until("failed"))[-1].name == "failed"
    # Its place is held, and nobody else gets it.
    await until_members(worker, "room", {"ann": True})
    other = await Stream(worker).log_in()
    await other.send(presence("ann"))
    assert code((await other.until("error"))[-1]) == "peer_taken"
    await back.send('<iq type="set" id="b1"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>', ENABLE)
    await back.until("enabled")
    await back.enter("ann")
    await until_members(worker, "room", {"ann": False})


async def test_a_request_that_is_late_leaves_the_newer_stream_alone(worker: Worker) -> None:
    """Its client has acknowledged more since, over another connection."""
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    newer = await resume(worker, key, 2)
    await newer.until("resumed")
    late = await resume(worker, key, 1)
    assert (await late.until("failed"))[-1].name == "failed"
    await newer.send(message("still here"))
    await _until_body(newer, "still here")
    assert newer.connection.reason is None
    assert not [one for one in ben.elements() if one.name == "presence"]
    # A page that has an older count stored than it acknowledged takes its place over.
    await late.send('<iq type="set" id="b1"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>', ENABLE)
    await late.until("enabled")
    await late.enter("ann")
    await until_members(worker, "room", {"ann": False, "ben": False})


async def test_a_page_that_is_left_during_a_resumption_keeps_its_place(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    await ben.send(message("missed"))
    await ben.until("body")
    newest_turn = worker.checkpoints.newest_turn
    left = Stream(worker)

    async def when_the_page_is_left(name: str) -> int:
        monkeypatch.undo()
        left.lose(1001)
        return await newest_turn(name)

    monkeypatch.setattr(worker.checkpoints, "newest_turn", when_the_page_is_left)
    await left.session.greet()
    await left.send(OPEN, auth("ANONYMOUS"))
    await left.until("success")
    await left.send(OPEN, f'<resume xmlns="urn:xmpp:sm:3" previd="{key}" h="3"/>')
    await until_members(worker, "room", {"ann": False, "ben": False})
    await until_members(worker, "room", {"ann": True, "ben": False})
    back = await resume(worker, key, 3)
    bodies = [child.text for one in await _until_body(back, "missed") for child in one.children if child.name == "body"]
    assert bodies == ["missed"]
    assert not [one for one in ben.elements() if one.name == "presence"]


async def test_stanzas_that_are_served_after_the_loss_of_a_connection_are_published_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited behind another request of the client, which has no acknowledgement of them and sends them again."""
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    roster, lost = worker.roster, asyncio.Event()

    async def when_lost(*arguments: Any) -> Any:
        await lost.wait()
        return await roster(*arguments)

    monkeypatch.setattr(worker, "roster", when_lost)
    items = '<query xmlns="http://jabber.org/protocol/disco#items"/>'
    await ann.send(f'<iq type="get" id="q" to="{ROOM}">{items}</iq>', message("once"))
    ann.lose()
    lost.set()
    await _until_body(ben, "once")
    await until_members(worker, "room", {"ann": True, "ben": False})
    back = await resume(worker, key, 3)
    handled = int((await back.until("resumed"))[0].get("h"))
    # The IQ had no answer yet.
    assert handled == 1
    await back.send(f'<iq type="get" id="q" to="{ROOM}">{items}</iq>', message("once"), message("end"))
    await back.until("item")
    bodies = [child.text for one in await _until_body(ben, "end") for child in one.children if child.name == "body"]
    assert bodies == ["end"]


@pytest.mark.parametrize("outcome", [OutcomeUnknown(), Refused("no_such_peer")])
async def test_a_message_without_an_outcome_is_sent_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, outcome: RelayError
) -> None:
    """The connection is lost before the outcome is known, which nobody would tell the client."""
    ann, key = await managed(worker, "ann")
    outcomes: list[Any] = []
    monkeypatch.setattr(worker, "publish", lambda _, __, done: outcomes.append(done))
    await ann.send(message("once"))
    ann.lose()
    monkeypatch.undo()
    outcomes[0](outcome)
    await until_members(worker, "room", {"ann": True})
    back = await resume(worker, key, 2)
    assert (await back.until("resumed"))[0].get("h") == "1"
    await back.send(message("once"))
    await _until_body(back, "once")


async def test_answers_of_occupants_while_the_client_is_away(worker: Worker) -> None:
    """The one that it has asked for comes, once; a forged one does not."""
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    ask = f'<iq type="set" id="%s" to="{ROOM}/ben"><jingle xmlns="urn:xmpp:jingle:1"/></iq>'
    answer = f'<iq type="result" id="%s" to="{ROOM}/ann"/>'
    await ann.send(ask % "q1", ask % "q2")
    await ben.until("iq")
    ann.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    await ben.send(answer % "q1", answer % "never", answer % "q1", message("end"))
    await ben.until("body")
    back = await resume(worker, key, 3)
    assert [one.get("id") for one in await _until_body(back, "end") if one.name == "iq"] == ["q1"]
    await ben.send(answer % "q2", message("end 2"))
    assert [one.get("id") for one in await _until_body(back, "end 2") if one.name == "iq"] == ["q2"]
    # The answer was written, and not acknowledged: it comes again, and the client has it once.
    back.lose()
    await until_members(worker, "room", {"ann": True, "ben": False})
    again = await resume(worker, key, 7)
    assert [one.get("id") for one in await _until_body(again, "end 2") if one.name == "iq"] == ["q2"]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_change_of_the_nick_counts_in_a_resumption(worker: Worker, killed: bool) -> None:
    """No message comes twice, nor the client's own farewell."""
    ann, key = await managed(worker, "ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    await ann.send(presence("ann2", identifier="n1"))
    await until(lambda: any(b'id="n1"' in one.data for one in ann.connection.frames))
    await until_members(worker, "room", {"ann2": False, "ben": False})
    kept = await worker.checkpoints.read(fingerprint(key))
    await ben.send(message("one"), message("two"))
    await _until_body(ann, "two")
    count = len(_stanzas(ann))
    ann.lose()
    await until_members(worker, "room", {"ann2": True, "ben": False})
    if killed:
        assert kept is not None
        await worker.checkpoints.keep(fingerprint(key), *kept, (), 60)
    await ben.send(message("three"))
    await _until_body(ben, "three")
    back = await resume(worker, key, count)
    found = await _until_body(back, "three")
    assert [one.name for one in found] == ["resumed", "message"]


def _stanzas(stream: Stream) -> list[Frame]:
    """The stanzas behind the answer to `enable`."""
    frames = stream.connection.frames
    start = next(number for number, one in enumerate(frames) if b"<enabled" in one.data)
    return [one for one in frames[start + 1 :] if not one.data.startswith((b"<r ", b"<a "))]


async def test_a_stream_that_is_in_rooms_already_is_counted_and_not_resumed(worker: Worker) -> None:
    ann = await (await Stream(worker).log_in()).enter("ann")
    await ann.send(ENABLE)
    (enabled,) = await ann.until("enabled")
    assert (enabled.get("id"), enabled.get("resume")) == ("", "")
    ann.lose()
    await until_members(worker, "room", {})


async def test_a_goodbye_ends_the_stream(worker: Worker) -> None:
    ann, key = await managed(worker, "ann")
    await ann.send(CLOSE)
    ann.lose(1000)
    await until_members(worker, "room", {})
    back = await resume(worker, key, 2)
    await back.until("failed")


async def test_without_auth_a_user_name_gives_no_right_to_a_place(worker: Worker) -> None:
    """Neither to that of a member, nor to one that is held."""
    ann, _ = await managed(worker, "ann", plain("ann", "secret"))
    for state in ("connected", "held"):
        if state == "held":
            ann.lose()
            await until_members(worker, "room", {"ann": True})
        other = await Stream(worker).log_in(plain("ann", "secret"))
        await other.send(ENABLE, presence("ann"))
        assert code((await other.until("error"))[-1]) == "peer_taken"


async def test_with_auth_a_stream_is_its_subjects(worker: Worker) -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as strict:
        rooms = [{"room": "room", "can": ["join", "publish", "presence"]}]
        secret = plain("x", token(sub="ann", rooms=rooms))
        ann, key = await managed(strict, "ann", secret)
        ann.lose()
        await until_members(strict, "room", {"ann": True})
        back = await resume(strict, key, 2, plain("x", token(sub="eve", rooms=rooms)))
        await back.until("failed")
        back = await resume(strict, key, 2, secret)
        await back.until("resumed")


async def test_acknowledgements_in_both_directions(worker: Worker) -> None:
    ann, _ = await managed(worker, "ann")
    await ann.send(message("one"), '<r xmlns="urn:xmpp:sm:3"/>')
    answer = [one for one in await ann.until("a") if one.name == "a"]
    assert [one.get("h") for one in answer] == ["2"]
    await ann.send('<a xmlns="urn:xmpp:sm:3" h="x"/>', ENABLE)
    assert (await ann.until("failed"))[-1].children[0].name == "unexpected-request"


async def _until_body(stream: Stream, text: str) -> list[Element]:
    found: list[Element] = []

    def come() -> bool:
        found.extend(stream.elements())
        return any(child.text == text for one in found for child in one.children)

    await until(come)
    return found
