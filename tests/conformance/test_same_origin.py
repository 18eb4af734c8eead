"""Socket.IO clients that poll, and that upgrade, where page and relay have one origin (docs/same-origin.md)."""

from pathlib import Path

import pytest

from tests.conformance.sio import POLLING, UPGRADE, Node
from tests.documentation import snippet
from tests.front_ends import WAYS, one_origin


@pytest.mark.parametrize("way", WAYS)
async def test_polling_clients_of_two_workers(way: str, redis_url: str, prefix: str, tmp_path: Path) -> None:
    page, folder = tmp_path / "page", tmp_path / "proxy"
    page.mkdir()
    folder.mkdir()
    configuration = "" if way == "static" else snippet(f"same-origin-{way}")
    with one_origin(way, configuration, page, folder, "--redis-url", redis_url, "--redis-prefix", prefix) as url:
        node = await Node.start()
        try:
            for version in ("4", "2", "0.9"):
                ann, ben = [await node.open(version, url, **POLLING, query=f"room=a-{version}") for _ in range(2)]
                for number in range(10):
                    assert await ann.ask("message", {"n": number})
                    assert await ben.event() == ("message", [{"n": number}])
            ann, ben = [await node.open("4", url, **UPGRADE) for _ in range(2)]
            for number in range(10):
                ann.emit("count", number)
            for number in range(10):
                assert await ben.event() == ("count", [number])
        finally:
            await node.close()
