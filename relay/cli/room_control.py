"""`relay kick`, `lock`, `unlock` and `close`: an operator acts on a room of a running fleet, over its HTTP API."""

from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import quote

import click

from relay.cli.api import Api, api_of
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings
from relay.cli.text import shell_word
from relay.model.errors import Refused
from relay.model.names import escape_peer, escape_room
from relay.model.rules import MAX_BAN, MAX_REASON

_Function = Callable[..., None]


def _room_command(function: _Function) -> click.Command:
    """Make a command of a function that gets the room, the relay, and the options of its own."""

    def run(room: str, url: str, timeout: float, **options: Any) -> None:
        own = {name: options.pop(name) for name in ("peer", "reason", "ban") if name in options}
        function(_room(room), api_of(load_settings(options).settings, url, timeout), **own)

    run.__doc__ = function.__doc__
    # Options of the function itself, which its decorators have left there.
    run.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    command: _Function = click.option(
        "--timeout", default=10.0, show_default=True, help="Seconds to wait for the reply."
    )(run)
    command = click.option("--url", default="", help="Address of the relay (http:// or https://), if not this "
                           "machine's port.")(command)  # fmt: skip
    command = settings_options("host", "port", "admin_token")(command)
    return click.command(function.__name__, cls=GroupedCommand)(click.argument("room")(command))


_reason = click.option("--reason", default="", help=f"Text for the members, up to {MAX_REASON} characters.")


@_room_command
@click.argument("peer")
@_reason
@click.option(
    "--ban", default=0, type=click.IntRange(0, MAX_BAN), help="Seconds for which the client may not come back."
)
def kick(room: str, api: Api, peer: str, reason: str, ban: int) -> None:
    """Put a member out of a room.

    ROOM and PEER are any text. With --ban, the relay keeps the client out by the subject of its token; without a token,
    only its peer id is refused, and the client may choose another.
    """
    escaped = _peer(peer)
    body = {"peer": escaped, "reason": _checked(reason), "ban": ban}
    kicked = api.ask("POST", f"{_path(room)}/kick", body)["kicked"]
    state = "is out of" if kicked else "was not there, and may not enter"
    click.echo(f"{shell_word(escaped)} {state} {shell_word(room)}")


@_room_command
def lock(room: str, api: Api) -> None:
    """Lock a room: nobody new comes in.

    Members stay, and one whose connection is lost may return. ROOM is any text.
    """
    api.ask("PUT", _path(room), {"locked": True})
    click.echo(f"{shell_word(room)} is locked")


@_room_command
def unlock(room: str, api: Api) -> None:
    """Unlock a room.

    ROOM is any text.
    """
    api.ask("PUT", _path(room), {"locked": False})
    click.echo(f"{shell_word(room)} is not locked")


@_room_command
@_reason
def close(room: str, api: Api, reason: str) -> None:
    """Put all members out of a room, and forget its rules.

    ROOM is any text. The room is open again for the next client that joins it.
    """
    query = f"?reason={quote(_checked(reason), safe='')}" if reason else ""
    members = api.ask("DELETE", _path(room) + query)["members"]
    click.echo(f"{shell_word(room)} is closed; members that were put out: {members}")


def _room(text: str) -> str:
    try:
        return escape_room(text)
    except Refused as error:
        _refuse("ROOM", error)


def _peer(text: str) -> str:
    try:
        return escape_peer(text)
    except Refused as error:
        _refuse("PEER", error)


def _refuse(name: str, error: Refused) -> NoReturn:
    fail([f"{name}: {error.text}"], status=2)


def _checked(reason: str) -> str:
    if len(reason) > MAX_REASON:
        fail([f"--reason: {len(reason)} characters, and at most {MAX_REASON} are allowed"], status=2)
    return reason


def _path(room: str) -> str:
    # The escaped name is written as a segment of a path, which the relay decodes once.
    return f"/rooms/{room}"
