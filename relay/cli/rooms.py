"""`relay rooms`: the rooms of a fleet, read from Redis."""

import asyncio
import json
from typing import Final

import click

from relay import logs
from relay.backend.fleet import live_rooms
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings
from relay.cli.text import aligned, reachable, shell_word
from relay.model.errors import Refused, RelayError, Unavailable
from relay.model.names import escaped_prefix

_NO_REDIS = """\
this command reads the rooms from Redis, and no Redis is set (--redis-url or RELAY_REDIS_URL)
only a relay without Redis knows its own rooms; ask it, with the admin token that it was started with:
    curl -H "Authorization: Bearer $RELAY_ADMIN_TOKEN" http://{host}:{port}/rooms"""

_INCOMPLETE: Final = 3
"""Exit status if rooms are missing."""


@click.command(cls=GroupedCommand)
@settings_options("redis_url", "redis_password", "redis_prefix", "redis_addresses", "publish_timeout")
@click.option("--name-prefix", default="", help="Only rooms whose names begin with this text.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects with room and members.")
def rooms(name_prefix: str, as_json: bool, **flags: str | None) -> None:
    """List the rooms of a running fleet.

    Each line names a room that has members, as `relay watch` takes it, and their number. With --json, a room has its
    escaped name, as in frames.

    The exit status is 0 if all rooms are listed, 1 if none can be read, and 3 if a part of a Redis Cluster does not
    answer: then the rooms of the rest are listed, with a warning.
    """
    settings = load_settings(flags).settings
    if not settings.redis_url:
        fail(_NO_REDIS.format(host=reachable(settings.host), port=settings.port).splitlines(), status=2)
    try:
        begins = escaped_prefix(name_prefix)
    except Refused as error:
        fail([f"--name-prefix: {error.text}"], status=2)
    # The backend would log a failure that the command reports itself.
    logs.configure("error", "text")
    try:
        found = asyncio.run(live_rooms(settings, begins))
    except RelayError as error:
        # The command runs for an operator.
        reason = error.report if isinstance(error, Unavailable) and error.report else error.text
        fail([f"the rooms cannot be read: {reason}"], status=1)
    if as_json:
        click.echo(json.dumps([{"room": room, "members": count} for room, count in found.rooms]))
    elif found.rooms:
        click.echo(aligned([("room", "members"), *((shell_word(room), str(count)) for room, count in found.rooms)]))
    elif not found.missing:
        click.echo("no such room has members" if name_prefix else "no room has members", err=True)
    if found.missing:
        fail([f"the list is incomplete, as a part of Redis did not answer: {found.missing}"], status=_INCOMPLETE)
