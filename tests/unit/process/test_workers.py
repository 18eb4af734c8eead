"""The sockets of workers, and the folder in which they are."""

from contextlib import closing
from pathlib import Path

import pytest

from relay.config import Settings
from relay.config.settings import ListenAddress
from relay.process.server import CannotListen, bind
from relay.process.workers import _address_of, _forward_listeners, check_private, open_sockets
from tests.ports import free_port


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o750, False), (0o701, False), (0o777, False)])
def test_the_folder_of_the_unix_sockets_is_private(tmp_path: Path, mode: int, private: bool) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(mode)
    if private:
        check_private(folder)
    else:
        with pytest.raises(CannotListen, match="other users"):
            check_private(folder)


def test_the_addresses_of_workers_for_other_replicas() -> None:
    assert [_address_of(ListenAddress("10.0.0.1", 8890), index) for index in (0, 3)] == [
        "10.0.0.1:8890",
        "10.0.0.1:8893",
    ]
    assert _address_of(ListenAddress("fd00::1", 8890), 0) == "[fd00::1]:8890"
    assert _address_of(None, 0) == ""


def test_ports_for_other_replicas_that_are_taken_show_at_once() -> None:
    first = free_port()
    with closing(bind("127.0.0.1", first + 1)[0]):
        settings = Settings(
            host="127.0.0.1", port=0, workers=2, redis_url="redis://db",
            forward_listen=f"{first}", forward_networks=("127.0.0.0/8",),
        )  # fmt: skip
        with pytest.raises(CannotListen, match=str(first + 1)):
            open_sockets(settings)


def test_each_worker_listens_for_other_replicas_on_a_port_of_its_own_within_the_networks() -> None:
    settings = Settings(forward_listen="8890", forward_networks=("127.0.0.0/8", "fd00::/8"))
    assert _forward_listeners(settings, None, 0) == []
    with closing(bind("127.0.0.1", 0)[0]) as free:
        port = free.getsockname()[1]
    (listener,) = _forward_listeners(settings, ListenAddress("127.0.0.1", port - 1), 1)
    with closing(listener.socket):
        assert listener.socket.getsockname() == ("127.0.0.1", port)
        assert (listener.kind, [str(one) for one in listener.networks]) == ("forwarding", ["127.0.0.0/8", "fd00::/8"])
