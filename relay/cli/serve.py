"""`relay serve`, and the hidden command that its supervisor starts for each of several workers."""

import logging

import click

from relay import logs
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings
from relay.cli.text import greeting
from relay.config import Settings
from relay.process.server import BadCertificate, CannotListen
from relay.process.supervisor import supervise
from relay.process.workers import OpenSockets, open_sockets, run_single_worker, run_supervised_worker

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
    for warning in warnings:
        log.warning(warning)
    try:
        sockets = open_sockets(settings)
    except BadCertificate as error:
        fail([str(error)], status=2)
    except CannotListen as error:
        fail([f"cannot listen on {error}"], status=1)
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
