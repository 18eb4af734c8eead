import socket
import subprocess
import sys

import pytest

from tests import ports
from tests.ports import free_port, release_port


def test_a_reserved_port_is_given_to_no_other_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    try:
        script = (
            f"from tests import ports; ports._next = iter([{port}, {port + 1}, {port + 2}]); print(ports.free_port())"
        )
        given = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert int(given) > port
        with socket.create_server(("127.0.0.1", port)):  # the reservation does not hinder the server
            monkeypatch.setattr(ports, "_next", iter([port]))
            with pytest.raises(OSError, match="no free port"):
                free_port()
    finally:
        release_port(port)


def test_a_released_port_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    release_port(port)
    release_port(port)
    monkeypatch.setattr(ports, "_next", iter([port]))
    assert free_port() == port
    release_port(port)
