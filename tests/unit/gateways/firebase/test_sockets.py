"""The session of a client with a WebSocket."""

from relay.rooms.worker import Worker
from tests.unit.gateways.firebase.page import Page


async def test_a_session_is_found_by_its_id_until_its_connection_has_ended(worker: Worker) -> None:
    page = await Page(worker).start()
    assert page.sockets == {page.session.id: page.session}
    assert page.frames[0]["d"]["d"]["s"] == page.session.id
    page.session.disconnected(1006, None)
    assert page.sockets == {}


async def test_a_client_that_has_connected_anew_has_its_last_socket_closed(worker: Worker) -> None:
    page = await Page(worker).start()
    assert await page.ask("p", "/room/x", d=1) == "ok"
    left = page.session.leave()
    assert left is not None
    await left
    assert (await worker.roster("room")).count == 0
    assert page.connection.reason is not None
    page.session.disconnected(1006, None)
    assert page.sockets == {}
