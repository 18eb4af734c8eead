"""`relay serve`, and the hidden command that its supervisor starts for each of several workers."""

import logging

import click

from relay import logs
from relay.cli.exposure import exposure_warning
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings, token_warnings
from relay.cli.text import greeting
from relay.config import Settings
from relay.gateways import reserved_words
from relay.pages.folder import check_folder, hidden_entries
from relay.process.server import BadCertificate, CannotListen
from relay.process.supervisor import supervise
from relay.process.workers import OpenSockets, open_sockets, run_single_worker, run_supervised_worker
from relay.rooms.key_sets import check_keys

log = logging.getLogger("relay.cli")


@click.command(cls=GroupedCommand)
@settings_options()
def serve(**flags: str | None) -> None:
    """Start the relay.

    Each setting is a flag or the environment variable next to it. A flag wins over the variable, and the variable over
    the default.
    """
    settings, _, warnings = load_settings(flags)
    logs.configure(settings.log_level, settings.log_format)
    problems = [*check_keys(settings), *check_folder(settings.static)]
    if problems:
        fail(problems, status=2)
    for warning in [*warnings, *token_warnings(settings), *_folder_warnings(settings)]:
        log.warning(warning)
    try:
        sockets = open_sockets(settings)
    except BadCertificate as error:
        fail([str(error)], status=2)
    except CannotListen as error:
        fail([f"cannot listen on {error}"], status=1)
    warning = exposure_warning(settings, [str(sock.getsockname()[0]) for sock in sockets.public])
    if warning:
        log.warning(warning)
    greeting_text = greeting(settings, sockets.port, sockets.forward)
    if settings.log_format == "text":
        click.echo(greeting_text)
    else:
        log.info(" ".join(greeting_text.split()))
    try:
        _serve(settings, sockets)
    except CannotListen as error:
        fail([f"cannot listen on {error}"], status=1)


@click.command(hidden=True)
def worker() -> None:
    """Run one of several workers; only `relay serve --workers` starts this command."""
    try:
        run_supervised_worker()
    except CannotListen as error:
        fail([f"cannot listen on {error}"], status=1)


def _serve(settings: Settings, sockets: OpenSockets) -> None:
    if settings.workers > 1:
        supervise(settings, sockets)
    else:
        run_single_worker(settings, sockets)


def _folder_warnings(settings: Settings) -> list[str]:
    hidden = hidden_entries(settings.static, reserved_words()) if settings.static else []
    if not hidden:
        return []
    paths = ", ".join(f"/{name}" for name in hidden)
    return [f"static: the relay itself answers {paths}; entries of these names in the folder are not served"]
