"""Clients in rooms: the effects of each stanza, and the errors."""

from typing import Any

import pytest

from relay.config import Settings
from relay.limits import Pace
from relay.model.rules import RuleChange
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.xmpp.streams import CLOSE, OPEN, ROOM, Stream, code, message, plain, presence, statuses


async def two(worker: Worker) -> tuple[Stream, Stream]:
    ann = await (await Stream(worker).log_in()).enter("ann")
    ben = await (await Stream(worker).log_in()).enter("ben")
    await ann.until("presence")
    return ann, ben


def ping(to: str, identifier: str = "q1") -> str:
    return f'<iq type="get" id="{identifier}" to="{to}"><ping xmlns="urn:xmpp:ping"/></iq>'


ERRORS = [
    ('<iq type="get" id="1"/>', "bad_stanza", "bad-request"),
    ('<iq type="get" id="1"><vcard xmlns="vcard-temp"/></iq>', "not_served", "service-unavailable"),
    ('<iq type="set" id="1"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>', "bad_stanza", "bad-request"),
    (ping("a@other.example"), "unknown_domain", "remote-server-not-found"),
    (ping(f"{ROOM}/ann"), "not_joined", "not-acceptable"),
    (ping("a@"), "bad_jid", "jid-malformed"),
    (message("b"), "not_joined", "not-acceptable"),
    (message("b", "localhost"), "not_served", "service-unavailable"),
    (f'<presence to="{ROOM}"><x xmlns="http://jabber.org/protocol/muc"/></presence>', "bad_jid", "jid-malformed"),
    (f'<presence to="{ROOM}/ann"/>', "not_joined", "not-acceptable"),
    # It would be kept: of a join, as long as the client is in the room.
    (presence("ann", identifier="i" * 256), "bad_stanza", "bad-request"),
    (presence("a" * 300), "bad_peer", "jid-malformed"),
    (presence("ann").replace("room@", "\\ff@"), "bad_room", "jid-malformed"),
    (presence("ann", password="p" * 200), "bad_password", "not-authorized"),
    (f'<presence to="{ROOM}/ann" type="unavailable"/>', "not_joined", "not-acceptable"),
]


@pytest.mark.parametrize(("stanza", "expected", "condition"), ERRORS)
async def test_a_stanza_that_cannot_be_served_gets_one_error(
    worker: Worker, stanza: str, expected: str, condition: str
) -> None:
    stream = await Stream(worker).log_in()
    await stream.send(stanza)
    (error,) = await stream.until("error")
    assert (error.get("type"), code(error)) == ("error", expected)
    child = error.child("error", "jabber:client")
    assert child is not None
    assert child.children[0].name == condition
    assert error.get("from") in stanza
    assert stream.connection.reason is None


@pytest.mark.parametrize(
    "stanza",
    [
        " ",
        "\n",
        "<presence/>",
        '<presence type="unavailable"/>',
        '<presence type="subscribe" to="a@localhost"/>',
        f'<presence type="probe" to="{ROOM}/ann"/>',
        '<iq type="result" id="1"/>',
        '<iq type="error" id="1"/>',
        f'<message type="error" to="{ROOM}"/>',
        '<message type="error"/>',
    ],
)
async def test_a_stanza_that_needs_no_answer_gets_none(worker: Worker, stanza: str) -> None:
    stream = await Stream(worker).log_in()
    await stream.send(stanza, ping("localhost"))
    assert [(one.name, one.get("type")) for one in await stream.until("iq")] == [("iq", "result")]


async def test_the_order_of_a_join(worker: Worker) -> None:
    ann = await Stream(worker).log_in()
    await ann.send(presence("ann"))
    own, subject = await ann.until("subject")
    assert (own.get("from"), statuses(own), own.get("id")) == (f"{ROOM}/ann", ["110", "201"], "p1")
    assert (subject.get("from"), subject.get("type"), subject.get("id")) == (ROOM, "groupchat", "")
    ben = await Stream(worker).log_in()
    await ben.send(presence("ben", identifier="p2"))
    other, own, subject = await ben.until("subject")
    assert (other.get("from"), statuses(other), other.get("id")) == (f"{ROOM}/ann", [], "")
    assert (own.get("from"), statuses(own), own.get("id")) == (f"{ROOM}/ben", ["110"], "p2")
    (seen,) = await ann.until("presence")
    assert (seen.get("from"), seen.get("type")) == (f"{ROOM}/ben", "")


async def test_messages_reach_all_and_private_ones_only_one(worker: Worker) -> None:
    ann, ben = await two(worker)
    await ann.send(message("hello"), message("psst", f"{ROOM}/ben", "chat"), message("end"))
    heard = [(one.get("type"), one.get("from"), one.get("id")) for one in await _messages(ben, 3)]
    assert heard == [(kind, f"{ROOM}/ann", "m1") for kind in ("groupchat", "chat", "groupchat")]
    assert [one.get("type") for one in await _messages(ann, 2)] == ["groupchat", "groupchat"]


async def test_the_receiver_of_an_iq_answers_once(worker: Worker) -> None:
    ann, ben = await two(worker)
    await ann.send(ping(f"{ROOM}/ben"))
    (asked,) = await ben.until("iq")
    assert (asked.get("from"), asked.get("type"), asked.get("id")) == (f"{ROOM}/ann", "get", "q1")
    result = f'<iq type="result" id="q1" to="{ROOM}/ann"/>'
    # The second answer, and one to a question that was not asked, would go astray in the client.
    await ben.send(result, result, result.replace("q1", "q2"), message("end"))
    assert [(one.name, one.get("id")) for one in await ann.until("message")] == [("iq", "q1"), ("message", "m1")]
    await ann.send(ping(f"{ROOM}/nobody"))
    assert code((await ann.until("error"))[-1]) == "no_such_peer"


async def test_a_client_asks_whether_it_is_there(worker: Worker) -> None:
    ann, _ = await two(worker)
    await ann.send(ping(f"{ROOM}/ann"), presence("ann", identifier="p9"))
    result, own = await ann.until("presence")
    assert (result.get("type"), result.get("from")) == ("result", f"{ROOM}/ann")
    assert (own.get("id"), statuses(own)) == ("p9", ["110"])


async def test_a_nick_is_changed_and_the_old_one_is_free(worker: Worker) -> None:
    ann, ben = await two(worker)
    await ann.send(presence("ann 2", identifier="p2"))
    gone, own = [one for one in await _until_id(ann, "p2") if one.name == "presence"]
    assert (gone.get("from"), gone.get("type"), statuses(gone)) == (f"{ROOM}/ann", "unavailable", ["110", "303"])
    assert (own.get("from"), statuses(own)) == (f"{ROOM}/ann 2", ["110"])
    await ann.send(message("end"))
    come, left, _ = await ben.until("body")
    assert (come.get("from"), left.get("from"), statuses(left)) == (f"{ROOM}/ann 2", f"{ROOM}/ann", ["303"])
    await until_members(worker, "room", {"ben": False, "ann%202": False})
    await ann.send(presence("ben"))
    refused = (await ann.until("error"))[-1]
    assert (refused.get("type"), code(refused)) == ("error", "peer_taken")
    assert refused.child("x", "http://jabber.org/protocol/muc") is not None


async def test_a_leave_repeats_its_id(worker: Worker) -> None:
    ann, ben = await two(worker)
    await ann.send(presence("ann", kind="unavailable", identifier="l1"))
    (own,) = await ann.until("presence")
    assert (own.get("id"), own.get("type"), statuses(own)) == ("l1", "unavailable", ["110"])
    (seen,) = await ben.until("presence")
    assert (seen.get("from"), seen.get("type"), statuses(seen)) == (f"{ROOM}/ann", "unavailable", [])
    await ben.send('<presence type="unavailable"/>')
    await ben.until("presence")
    await until_members(worker, "room", {})


def items(identifier: str = "i1") -> str:
    query = '<query xmlns="http://jabber.org/protocol/disco#items"/>'
    return f'<iq type="get" id="{identifier}" to="{ROOM}">{query}</iq>'


async def listed(stream: Stream) -> list[str]:
    await stream.send(items())
    (answer,) = await stream.until("iq")
    assert answer.get("type") == "result"
    return [one.get("jid") for one in answer.all() if one.name == "item"]


async def test_only_occupants_read_the_names_of_a_room(worker: Worker) -> None:
    ann = await (await Stream(worker).log_in()).enter("ann", password="secret")
    await worker.rules.change("room", RuleChange(password="secret"), by="")
    eve = await Stream(worker).log_in()
    await eve.send(presence("eve"))
    assert code((await eve.until("error"))[-1]) == "password_required"
    assert await listed(eve) == []
    assert await listed(ann) == [f"{ROOM}/ann"]


async def test_a_guest_reads_no_names_of_a_room_that_it_is_not_in() -> None:
    async with Worker(Settings(auth="optional", auth_secret=SECRET)) as worker:
        ann = await (await Stream(worker).log_in()).enter("ann")
        guest = await Stream(worker).log_in()
        assert await listed(guest) == []
        assert await listed(ann) == [f"{ROOM}/ann"]
        rooms = [{"room": "room", "can": ["presence"]}]
        observer = await Stream(worker).log_in(plain("x", token(sub="obs", rooms=rooms)))
        assert await listed(observer) == [f"{ROOM}/ann"]


async def test_costly_stanzas_count_as_their_work(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    monkeypatch.setattr(Pace, "spend", lambda _, messages: spent.append(messages))
    ann, _ = await two(worker)
    own = "http://jabber.org/protocol/muc"
    kick = f'<query xmlns="{own}#admin"><item nick="none" role="none"/></query>'
    field = '<field var="muc#roomconfig_roomsecret"><value>secret</value></field>'
    lock = f'<query xmlns="{own}#owner"><x xmlns="jabber:x:data" type="submit">{field}</x></query>'
    costs = {}
    for name, stanza in (
        ("own", f'<presence id="q" to="{ROOM}/ann"/>'),
        ("nick", f'<presence id="q" to="{ROOM}/ann2"/>'),
        ("kick", f'<iq type="set" id="q" to="{ROOM}">{kick}</iq>'),
        ("lock", f'<iq type="set" id="q" to="{ROOM}">{lock}</iq>'),
        ("items", items("q")),
    ):
        spent.clear()
        await ann.send(stanza)
        await _until_id(ann, "q")
        costs[name] = sum(spent)
    assert costs == {"own": 0, "nick": 3, "kick": 3, "lock": 25, "items": 10}


async def test_the_owner_kicks_and_closes(worker: Worker) -> None:
    ann, ben = await two(worker)
    kick = (
        f'<iq type="set" id="k1" to="{ROOM}"><query xmlns="http://jabber.org/protocol/muc#admin">'
        '<item nick="%s" role="none"><reason>too loud</reason></item></query></iq>'
    )
    await ben.send(kick % "ann")
    assert code((await ben.until("error"))[-1]) in {"not_owner", "forbidden"}
    await worker.rules.kick("room", "ben", reason="too loud", ban=0, by="")
    own = (await ben.until("presence"))[-1]
    assert (own.get("type"), statuses(own)) == ("unavailable", ["110", "307"])
    (seen,) = [one for one in await ann.until("presence") if one.name == "presence"]
    assert (seen.get("from"), statuses(seen)) == (f"{ROOM}/ben", ["307"])
    assert ben.connection.reason is None
    await ann.send(message("end"))
    assert [one.name for one in await ann.until("body")] == ["message"]
    await worker.rules.close("room", reason="over")
    own = (await ann.until("destroy"))[-1]
    assert statuses(own) == ["110"]
    await ann.enter("ann")


async def test_a_client_without_stream_management_is_not_held(worker: Worker) -> None:
    ann, ben = await two(worker)
    ann.lose()
    await until_members(worker, "room", {"ben": False})
    await ben.until("presence")
    await ben.send(CLOSE)
    assert [one.name for one in ben.elements()] == ["close"]
    assert ben.connection.reason is not None
    await until_members(worker, "room", {})


async def test_the_history_is_for_clients_that_ask(worker: Worker) -> None:
    ann, ben = await two(worker)
    await ann.send(message("one"), message("two"), message("psst", f"{ROOM}/ben", "chat"))
    await ann.send(f'<message to="{ROOM}" type="groupchat"><subject>topic</subject></message>', message("three"))
    await _messages(ann, 4)
    for asked, expected in (
        ("", []),
        ('<history maxstanzas="0"/>', []),
        ('<history maxchars="0" maxstanzas="5"/>', []),
        ('<history maxstanzas="1"/>', ["three"]),
        ('<history maxstanzas="99"/>', ["one", "two", "three"]),
        (f'<history maxstanzas="{"9" * 5000}"/>', ["one", "two", "three"]),
        ('<history since="1970-01-01T00:00:00Z"/>', ["one", "two", "three"]),
    ):
        late = await Stream(worker).log_in()
        await late.send(presence("late", history=asked))
        stanzas = [one for one in await late.until("subject") if one.name == "message"]
        *past, subject = stanzas
        bodies = [child.text for one in past for child in one.children if child.name == "body"]
        assert bodies == expected
        assert all(one.child("delay", "urn:xmpp:delay") is not None for one in past)
        assert subject.children[0].text == ("topic" if len(expected) == 3 else "")
        await late.send(CLOSE)
        await until_members(worker, "room", {"ann": False, "ben": False})
    del ben


@pytest.mark.parametrize("frame", ["<message>", "<a/><b/>", "<!DOCTYPE a>", OPEN, "<x xmlns='jabber:client'/>"])
async def test_broken_frames_end_the_stream_and_nothing_else(worker: Worker, frame: str) -> None:
    ann, ben = await two(worker)
    await ann.send(frame)
    error, close = ann.elements()
    assert (error.name, close.name) == ("error", "close")
    assert ann.connection.reason is not None
    ann.lose()
    (left,) = await ben.until("presence")
    assert left.get("type") == "unavailable"


async def _messages(stream: Stream, count: int) -> list[Any]:
    found: list[Any] = []

    def come() -> bool:
        found.extend(one for one in stream.elements() if one.name == "message")
        return len(found) >= count

    await until(come)
    return found


async def _until_id(stream: Stream, identifier: str) -> list[Any]:
    found: list[Any] = []

    def come() -> bool:
        found.extend(stream.elements())
        return any(one.get("id") == identifier for one in found)

    await until(come)
    return found
