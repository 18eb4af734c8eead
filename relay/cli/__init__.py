"""The command `relay`."""

import asyncio
import io
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NoReturn

import click

from relay import __version__, logs
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.text import aligned, greeting, reachable, settings_table, shown
from relay.cli.watch import reason, until_stopped, watch
from relay.client import Closed, Options, join
from relay.config import Settings, SettingsError, declared, load
from relay.errors import RelayError
from relay.fleet import live_rooms
from relay.server import BadCertificate, CannotListen
from relay.serving import Opened, open_sockets, serve_alone, serve_brief
from relay.supervisor import supervise

log = logging.getLogger("relay.cli")

_ROOMS_NEED = frozenset({"redis", "prefix", "publish_timeout"})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="relay")
def main() -> None:
    """Relay messages between the members of rooms, over WebSockets."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What others say may hold what this terminal has no characters for.
            stream.reconfigure(errors="backslashreplace")


@main.command(cls=GroupedCommand)
@settings_options(declared())
def serve(**flags: str | None) -> None:
    """Start serving.

    Every setting is a flag here, or the variable named with it; a flag wins over the variable, that over the default.
    """
    settings, _ = _load(flags)
    logs.configure(settings.log_level, settings.log_format)
    try:
        opened = open_sockets(settings)
    except BadCertificate as error:
        _fail([str(error)], status=2)
    except CannotListen as error:
        _fail([f"cannot listen on {error}"], status=1)
    greeting_text = greeting(settings, opened.port)
    if settings.log_format == "text":
        click.echo(greeting_text)
    else:
        log.info(" ".join(greeting_text.split()))
    _serve(settings, opened)


@main.command(cls=GroupedCommand)
@settings_options(declared())
@click.option("--markdown", is_flag=True, help="Print the table of all settings for the README instead.")
def config(markdown: bool, **flags: str | None) -> None:
    """Print the settings in effect, and where each comes from; secrets are masked."""
    settings, sources = _load(flags)
    if markdown:
        click.echo(settings_table())
        return
    rows = [(one.name, shown(one, getattr(settings, one.name)), sources[one.name]) for one in declared()]
    click.echo(aligned([("setting", "value", "from"), *rows]))


@main.command(cls=GroupedCommand)
@settings_options(one for one in declared() if one.name in _ROOMS_NEED)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects with room and members.")
def rooms(as_json: bool, **flags: str | None) -> None:
    """List the rooms of a running fleet, and how many members each has."""
    settings, _ = _load(flags)
    if not settings.redis:
        _fail(_NO_REDIS.format(host=reachable(settings.host), port=settings.port).splitlines(), status=2)
    # What goes wrong is said once, below.
    logs.configure("error", "text")
    try:
        found = asyncio.run(live_rooms(settings))
    except RelayError as error:
        _fail([f"the rooms cannot be read: {error.text}"], status=1)
    if as_json:
        click.echo(json.dumps([{"room": room, "members": count} for room, count in found]))
    elif found:
        click.echo(aligned([("room", "members"), *((room, str(count)) for room, count in found)]))
    else:
        click.echo("no room has members", err=True)


@main.command("watch")
@click.argument("room")
@click.option("--url", default="ws://localhost:8888", show_default=True, help="Where the relay is (ws:// or wss://).")
@click.option("--peer", default="", help="The id to be in the room as; one of the relay's choice without it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def watch_room(room: str, url: str, peer: str, as_json: bool) -> None:
    """Follow what is said in a room, and who comes and goes, until Ctrl-C.

    Comes back by itself when the connection is lost, and shows what was said meanwhile.
    """
    logs.configure("error", "text")
    note = partial(click.echo, err=True)
    try:
        watched = join(url, room, peer=peer, presence=True, options=Options(proxy=True))
    except ValueError as error:
        _fail([f"--url: {error}"], status=2)
    note(f"connecting to {logs.escape(url)}")
    try:
        asyncio.run(until_stopped(watch(watched, as_json=as_json, say=click.echo, note=note)))
    except Closed as closed:
        _fail([reason(closed)], status=1)
    except BrokenPipeError:
        return


@main.command(hidden=True)
def worker() -> None:
    """Be one worker of several; only `serve --workers` starts this."""
    serve_brief()


_NO_REDIS = """\
the rooms of a fleet are read from Redis, and none is given (--redis or RELAY_REDIS)
a relay without Redis knows its rooms alone; ask it, with the admin token that it was started with:
    curl -H "Authorization: Bearer $RELAY_ADMIN_TOKEN" http://{host}:{port}/rooms"""


def _load(flags: Mapping[str, str | None]) -> tuple[Settings, dict[str, str]]:
    given = {name: text for name, text in flags.items() if text is not None}
    try:
        return load(given, os.environ)
    except SettingsError as error:
        _fail(error.lines, status=2)


def _serve(settings: Settings, opened: Opened) -> None:
    if settings.workers > 1:
        supervise(settings, opened)
    else:
        serve_alone(settings, opened)


def _fail(lines: Sequence[str], *, status: int) -> NoReturn:
    for line in lines:
        click.echo(f"relay: {logs.escape(line)}", err=True)
    sys.exit(status)
