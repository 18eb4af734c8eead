"""Prepared changes at the end of a membership, over memory."""

from relay.config import Settings
from relay.model.errors import KICKED
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.firebase.page import Page, recorded_end


async def test_a_client_that_was_put_out_writes_nothing_more(worker: Worker) -> None:
    ann, ben = await Page(worker).start(), await Page(worker).start()
    assert await ann.ask("o", "/room/left", d=True) == "ok"
    assert await ben.ask("p", "/room/ben", d=True) == "ok"
    (peer,) = [member.peer for member in ann.session._rooms.memberships()]
    assert await worker.rules.kick("room", peer)
    await until(lambda: ann.connection.reason is not None)
    assert ann.connection.reason is KICKED
    ann.session.disconnected(4506, "kicked")
    await until_members(worker, "room", {ben.session._rooms.peer: False})
    assert (await worker.trees.read("room", "left")).leaves == []


async def test_prepared_changes_of_a_client_without_rights_are_forgotten() -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        page = await Page(worker).start(token(sub="ann", rooms=[{"room": "room"}]))
        assert await page.ask("o", "/room/left", d=True) == "ok"
        assert recorded_end(worker, "ann") is not None
        assert await page.ask("unauth") == "ok"
        await until_members(worker, "room", {})
        assert recorded_end(worker, "ann") is None
        assert (await worker.trees.read("room", "left")).leaves == []
