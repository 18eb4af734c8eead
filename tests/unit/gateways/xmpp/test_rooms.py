from relay.gateways.base.join_request import CodecPair
from relay.gateways.xmpp.codec import XmppCodec
from relay.gateways.xmpp.rooms import XmppRooms
from relay.model.commands import Join
from relay.model.errors import KICKED, CloseReason
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.xmpp.streams import Recorder


async def test_a_client_that_is_put_out_keeps_its_connection(worker: Worker) -> None:
    codec, connection = XmppCodec("localhost"), Recorder()
    told: list[tuple[str, CloseReason]] = []
    rooms = XmppRooms(connection, worker, CodecPair(codec, codec), "", lambda *why: told.append(why))
    await rooms.join(Join("a", peer="ann"), codec)
    await rooms.join(Join("b", peer="ann"), codec)
    await worker.rules.kick("a", "ann", reason="", ban=0, by="")
    await until(lambda: told)
    assert told == [("a", KICKED)]
    assert connection.reason is None
    assert [member.room for member in rooms.memberships()] == ["b"]


async def test_another_peer_id_in_the_same_room(worker: Worker) -> None:
    codec, connection = XmppCodec("localhost"), Recorder()
    rooms = XmppRooms(connection, worker, CodecPair(codec, codec), "", lambda room, reason: None)
    await rooms.join(Join("a", peer="ann"), codec)
    before = await rooms.rename_in(Join("a", peer="ben"), codec)
    assert (before.peer, rooms.member("a").peer) == ("ann", "ben")
    await worker.leave(before, hold=False)
    await until_members(worker, "a", {"ben": False})
