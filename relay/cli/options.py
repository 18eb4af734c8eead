"""A command's options, made from the declared settings, and how the help shows them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import click

from relay.cli.text import plain
from relay.config import Setting

GROUPS: Final[Mapping[str, str]] = {
    "Where": "host port redis_url redis_password workers tls_cert tls_key default_room trusted_proxies",
    "Browsers": "allowed_origins pages public_url ice_servers socketio_client_url",
    "Operators": "admin_host admin_port admin_token log_level log_format worker_id redis_prefix",
    "Messages": "max_message message_rate message_burst send_buffer max_inflight_publishes socketio_events",
    "Rooms": "rooms_per_connection channels_per_room members_per_room presence_list_limit history_size history_ttl",
    "Connections": "publish_queue max_connections connections_per_address handshake_rate handshake_timeout",
    "Times": (
        "ping_interval ping_timeout publish_timeout probe_timeout worker_lease reconnect_grace presence_ttl "
        "sequence_ttl"
    ),
    "Stopping": "drain_delay drain_rate drain_timeout",
}
"""Under which heading the help shows a setting; what is in none stands at the end."""


class GroupedCommand(click.Command):
    """A command whose options are shown under the headings of `GROUPS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command`."""
        rows = {param.name: row for param in self.get_params(ctx) if (row := param.get_help_record(ctx))}
        for heading, names in GROUPS.items():
            shown = [rows.pop(name) for name in names.split() if name in rows]
            if shown:
                with formatter.section(heading):
                    formatter.write_dl(shown)
        with formatter.section("Other"):
            formatter.write_dl(list(rows.values()))


def settings_options(settings: Iterable[Setting]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per setting; all are text, as `config.load` reads and checks them."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for setting in reversed(list(settings)):
            file = f", or its file in {setting.file_variable}" if setting.file_variable else ""
            text = f"{setting.description}. [{setting.variable}{file}{_default(setting)}]"
            function = click.option(setting.flag, setting.name, metavar=_metavar(setting), help=text)(function)
        return function

    return decorate


def _metavar(setting: Setting) -> str:
    if " or " in setting.allowed and setting.default in setting.allowed.split(" or "):
        return setting.allowed.replace(" or ", "|")
    kinds: dict[type[Any], str] = {int: "NUMBER", float: "SECONDS", tuple: "LIST"}
    return kinds.get(type(setting.default), "TEXT")


def _default(setting: Setting) -> str:
    text = plain(setting.default)
    return f"; default {text}" if text else ""
