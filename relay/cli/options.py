"""The options of a command, made from the declared settings, and their groups in the help."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from relay.cli.text import plain
from relay.config import OLD_NAMES, OldName, Setting, declared
from relay.config.declaring import settings_of
from relay.gateways import EXTENSIONS, GATEWAYS, GatewaySettings

_PLAIN: Final = re.compile("-{0,2}[A-Za-z][A-Za-z_-]{0,40}", re.ASCII)

GROUPS: Final[Mapping[str, str]] = {
    "Listening": "host port workers tls_cert tls_key trusted_proxies",
    "Requests of other replicas": "forward_listen forward_networks",
    "Redis": (
        "redis_url redis_password redis_prefix redis_addresses shards_needed publish_timeout durability probe_timeout "
        "worker_lease room_state_ttl"
    ),
    "Operation": (
        "admin_listen public_metrics admin_token fleet_secret log_level log_format worker_id drain_delay drain_timeout"
    ),
    "Tokens of clients": (
        "auth auth_secret auth_key auth_jwks auth_audience auth_issuer auth_leeway auth_default_rooms url_tokens"
    ),
    "Webhook": "webhook_url webhook_secret webhook_queue webhook_batch webhook_timeout",
    "Pages and browsers": "allowed_origins pages static public_url ice_servers turn_servers turn_secret turn_ttl",
    "Rooms": (
        "default_room members_per_room places_per_address observers_per_room presence_list_limit "
        "room_delivery_rate room_presence_rate reconnect_grace closed_rooms owner_rules rules_ttl "
        "history_size history_bytes history_ttl tree_ttl"
    ),
    "Limits of one connection": (
        "max_message message_rate byte_rate message_delay send_buffer max_inflight_publishes rooms_per_connection "
        "channels_per_room subscriptions_per_connection ping_interval watched_ping_interval ping_timeout"
    ),
    "Limits of one worker": (
        "max_connections connections_per_address address_byte_rate address_replay_rate address_buffer worker_buffer "
        "unfinished_bytes address_unfinished_bytes message_timeout handshake_rate handshake_timeout "
        "http_connections_per_address keep_alive_timeout http_rate token_attempts password_attempts"
    ),
    "Limits of memory": "address_history_bytes address_tree_bytes new_rooms_per_address memory_share history_memory",
    "Gateways": " ".join(one.name for one in settings_of(GatewaySettings)),
    **{
        gateway.title: " ".join(one.name for one in settings_of(gateway.settings))
        for gateway in GATEWAYS.values()
        if gateway.settings
    },
}
"""Title in the help and in docs/settings.md → names of the settings; a test checks that every setting has a group."""


def every_setting() -> list[Setting]:
    """Every setting of the relay, also those of its gateways."""
    return list(declared(*(one.declaring for one in EXTENSIONS)))


def every_old_name() -> list[OldName]:
    """Every old name of these settings."""
    return [*OLD_NAMES, *(old for one in EXTENSIONS for old in one.old_names)]


_Command = Callable[..., None]


def is_plain(word: str) -> bool:
    """Whether an argument may be repeated in an error: it is a word or an option, and not (a part of) a URL."""
    return _PLAIN.fullmatch(word) is not None


class GroupedCommand(click.Command):
    """A command whose help shows the options under the titles of `GROUPS`, and which suggests no hidden one.

    Its errors do not repeat arguments that may be the rest of a secret, such as one with a space that was not quoted.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; for a misspelt option, Click suggests similar ones, also hidden ones."""
        allows_extra, ctx.allow_extra_args = ctx.allow_extra_args, True
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not is_plain(error.option_name):
                raise click.UsageError("There is an option that the command does not have.", ctx=error.ctx) from None
            hidden = {name for param in self.params if getattr(param, "hidden", False) for name in param.opts}
            shown = [name for name in error.possibilities or () if name not in hidden]
            raise click.NoSuchOption(error.option_name, possibilities=shown, ctx=error.ctx) from None
        if ctx.args and not allows_extra and not ctx.resilient_parsing:
            raise click.UsageError(
                f"The command does not take {len(ctx.args)} of these arguments; write a value with spaces in quotes.",
                ctx=ctx,
            )
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group that has options, and one for the options that are not settings."""
        # An option without a help record is hidden, such as an old name.
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        rows = {param.name: row for param in options if (row := param.get_help_record(ctx))}
        for title, names in GROUPS.items():
            group = [rows.pop(name) for name in names.split() if name in rows]
            if group:
                with formatter.section(title):
                    formatter.write_dl(group)
        with formatter.section("Other"):
            formatter.write_dl(list(rows.values()))


def settings_options(*names: str) -> Callable[[_Command], _Command]:
    """Give a command one option for each of these settings, or for all of them; old names are hidden options.

    All options are text: `config.load` converts and checks them, so that flags and variables get the same errors.
    """
    settings = [one for one in every_setting() if not names or one.name in names]
    old_names = [one for one in every_old_name() if not names or one.new in names]

    def decorate(function: _Command) -> _Command:
        for old in old_names:
            function = click.option(old.flag, old.name, hidden=True)(function)
        # Click lists the options in the reverse order of their decorators.
        for setting in reversed(settings):
            function = click.option(setting.flag, setting.name, metavar=_metavar(setting), help=_help(setting))(
                function
            )
        return function

    return decorate


def _help(setting: Setting) -> str:
    file = f", or its file in {setting.file_variable}" if setting.file_variable else ""
    default = plain(setting.default)
    return f"{setting.description}. [{setting.variable}{file}{f'; default {default}' if default else ''}]"


def _metavar(setting: Setting) -> str:
    if " or " in setting.allowed and setting.default in setting.allowed.split(" or "):
        return setting.allowed.replace(" or ", "|")
    for unit in ("seconds", "bytes"):
        if setting.allowed.startswith(unit):
            return unit.upper()
    kinds: dict[type[Any], str] = {int: "NUMBER", float: "NUMBER", tuple: "LIST"}
    return kinds.get(type(setting.default), "TEXT")
