"""The command `relay`.

Each subcommand is imported only when it is used: `relay health` runs every few seconds, and must not load a server.
"""

import gc
import io
import signal
import sys
from importlib import import_module
from typing import Final

import click

from relay import __version__
from relay.build import described

_COMMANDS: Final = {
    "serve": "relay.cli.serve:serve",
    "config": "relay.cli.config:config",
    "rooms": "relay.cli.rooms:rooms",
    "watch": "relay.cli.watch:watch_room",
    "token": "relay.cli.token:token",
    "kick": "relay.cli.room_control:kick",
    "lock": "relay.cli.room_control:lock",
    "unlock": "relay.cli.room_control:unlock",
    "close": "relay.cli.room_control:close",
    "health": "relay.cli.health:health",
    "worker": "relay.cli.serve:worker",
}
"""Subcommand → module and function."""

_SERVERS: Final = ("serve", "worker")

_BUILD: Final = described().replace("%", "%%")
"""For a message that click formats."""


class _Commands(click.Group):
    """A group that imports a subcommand when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand, None for an unknown name."""
        if cmd_name not in _COMMANDS:
            if not (cmd_name.isascii() and cmd_name.isalpha()):
                # Click would repeat it, and it may be a URL with a password.
                raise click.UsageError("The first argument is not a command.", ctx=ctx)
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        # All that an import makes stays; the collector would look through it again and again, for a tenth of the time.
        gc.disable()
        try:
            command: click.Command = getattr(import_module(module), name)
        finally:
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand of these arguments.

        Ahead of the import of a server, which takes a while, SIGHUP is ignored until the server handles it: a process
        that has just begun would end by it without a word.
        """
        if args and args[0] in _SERVERS:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="relay", message=f"%(prog)s, version %(version)s ({_BUILD})")
def main() -> None:
    """Relay messages between the members of rooms, over WebSockets."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Messages from clients may contain characters that the encoding of the terminal does not have.
            stream.reconfigure(errors="backslashreplace")
