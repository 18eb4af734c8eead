"""Secret files."""

from pathlib import Path

import pytest

from relay.cli.settings import read_secret
from tests.unit.cli.conftest import run


def test_a_secret_is_read_without_the_newline_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content in (b"hunter2", b"hunter2\n", b"hunter2\r\n"):
        file.write_bytes(content)
        assert read_secret(str(file)) == "hunter2"
    file.write_bytes(b" two\nlines \n\n")
    assert read_secret(str(file)) == " two\nlines \n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is not text in UTF-8"),
        (b"x" * 8193, "is larger than 8192 bytes; is it the right one?"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_with_no_secret_is_refused_with_the_reason(content: bytes | None, text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    done = run("serve", variables={"RELAY_ADMIN_TOKEN_FILE": str(file)})
    assert done.exit_code == 2
    assert done.stderr == f"relay: admin_token (from RELAY_ADMIN_TOKEN_FILE): the file {str(file)!r} {text}\n"


def test_the_default_room_is_no_word_of_a_path() -> None:
    done = run("config", "--default-room", "health")
    assert done.exit_code == 2
    assert (
        done.stderr
        == "relay: default_room (from --default-room): 'health' is not allowed: paths of the relay begin with it\n"
    )
    assert run("config", "--default-room", "..").exit_code == 2
    assert run("config", variables={"RELAY_DEFAULT_ROOM": "demo"}).exit_code == 0
