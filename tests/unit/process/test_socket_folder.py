import shutil
import socket
from pathlib import Path

import pytest

from relay.process import socket_folder as module
from relay.process.server import CannotListen
from relay.process.socket_folder import make_socket_folder
from relay.process.workers import check_private


def check(folder: str, parent: Path) -> None:
    try:
        assert Path(folder).parent == parent
        check_private(Path(folder))
        assert not list(Path(folder).iterdir())
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"{folder}/255.sock")
    finally:
        shutil.rmtree(folder)


def test_the_folder_that_the_environment_names_comes_first(tmp_path: Path, caplog) -> None:
    short = Path(shutil.copytree(tmp_path, f"/tmp/r{tmp_path.stat().st_ino}"))
    try:
        check(make_socket_folder(256, {"TMPDIR": str(short)}), short)
        check(make_socket_folder(2, {"RUNTIME_DIRECTORY": f"{short}:/other"}), short)
    finally:
        shutil.rmtree(short)
    assert not caplog.records


@pytest.mark.parametrize("kind", ["long", "missing", "a file", "read-only"])
def test_another_folder_is_taken_where_no_socket_can_be(tmp_path: Path, monkeypatch, caplog, kind: str) -> None:
    spare = Path(shutil.copytree(tmp_path, f"/tmp/s{tmp_path.stat().st_ino}"))
    monkeypatch.setattr(module, "_FOLDERS", (str(spare),))
    folder = {"long": tmp_path / (80 * "x") / (30 * "y"), "read-only": Path("/proc/self")}.get(kind, tmp_path / "no")
    if kind == "long":
        folder.mkdir(parents=True)
    elif kind == "a file":
        folder.write_text("")
    try:
        check(make_socket_folder(2, {"TMPDIR": str(folder)}), spare)
    finally:
        shutil.rmtree(spare)
    assert "the unix sockets of the workers are in" in caplog.text
    assert str(folder) in caplog.text
    if kind == "long":
        assert not list(folder.iterdir())


def test_without_any_folder_the_error_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_FOLDERS", (str(tmp_path / "no"),))
    with pytest.raises(CannotListen) as raised:
        make_socket_folder(12, {"TMPDIR": "/" + 100 * "x"})
    text = str(raised.value)
    assert "the path is too long for a unix socket" in text
    assert "No such file or directory" in text
    assert "set TMPDIR to a folder to which this user may write, and whose path has at most 84 bytes" in text
