"""Settings for a command: read from its flags, the environment and the files that this names; or the reason why not."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import click

from relay import logs
from relay.config import Settings, SettingsError, load

_LONGEST_SECRET: Final = 8192


def load_settings(flags: Mapping[str, str | None]) -> tuple[Settings, dict[str, str]]:
    """Return the settings in effect and where each comes from; what is wrong with them ends the command."""
    given = {name: text for name, text in flags.items() if text is not None}
    try:
        return load(given, os.environ, read_secret)
    except SettingsError as error:
        fail(error.lines, status=2)


def read_secret(path: str) -> str:
    """Return what a file holds, without the newline that editors put at its end; see `config.ReadSecret`."""
    with Path(path).open("rb") as file:
        content = file.read(_LONGEST_SECRET + 1)
    if len(content) > _LONGEST_SECRET:
        raise ValueError(f"is larger than {_LONGEST_SECRET} bytes; is it the right one?")
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    if not secret:
        raise ValueError("is empty")
    return secret


def fail(lines: Sequence[str], *, status: int) -> NoReturn:
    """End the command, and say why."""
    for line in lines:
        click.echo(f"relay: {logs.escape(line)}", err=True)
    sys.exit(status)
