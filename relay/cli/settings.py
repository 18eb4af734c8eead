"""Settings for a command: read from its flags, the environment and secret files. A wrong setting ends the command."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import click

from relay import logs
from relay.config import Loaded, Settings, SettingsError, load
from relay.config.auth_settings import weakness
from relay.gateways import EXTENSIONS, reserved_words

_MAX_SECRET: Final = 8192


def load_settings(flags: Mapping[str, str | None]) -> Loaded:
    """Return the settings in effect, or end the command with status 2 and a line for each problem.

    `flags` has every option of the command; None marks those that were not used.
    """
    used = {name: text for name, text in flags.items() if text is not None}
    try:
        loaded = load(used, os.environ, read_secret, EXTENSIONS)
    except SettingsError as error:
        fail(error.lines, status=2)
    room = loaded.settings.default_room
    if room in reserved_words():
        source = loaded.sources["default_room"]
        fail([f"default_room (from {source}): {room!r} is not allowed: paths of the relay begin with it"], status=2)
    return loaded


def read_secret(path: str) -> str:
    """Return the content of a file without the newline that editors add at its end.

    Raises OSError, or ValueError for a file that cannot be a secret; see `config.ReadSecret` for its text.
    """
    with Path(path).open("rb") as file:
        content = file.read(_MAX_SECRET + 1)
    if len(content) > _MAX_SECRET:
        raise ValueError(f"is larger than {_MAX_SECRET} bytes; is it the right one?")
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None
    if not secret:
        raise ValueError("is empty")
    return secret


def token_warnings(settings: Settings, *, signs: bool = False) -> list[str]:
    """Return warnings: settings that make tokens weaker than their operator may believe, or without effect.

    `signs`: the secret is used, also if the setting `auth` does not need it.
    """
    if settings.auth == "off" and not signs:
        named = [name for name in ("auth_secret", "auth_key", "auth_jwks") if getattr(settings, name)]
        return [f"{' and '.join(named)}: has no effect, as auth is off: clients need no token"] if named else []
    return [f"auth_secret: {text}" for one in settings.auth_secret.split() if (text := weakness(one))]


def warn(lines: Sequence[str]) -> None:
    """Print warnings to standard error."""
    for line in lines:
        click.echo(f"relay: warning: {logs.escape(line)}", err=True)


def fail(lines: Sequence[str], *, status: int) -> NoReturn:
    """Print the reasons to standard error, and end the command."""
    for line in lines:
        click.echo(f"relay: {logs.escape(line)}", err=True)
    sys.exit(status)
