"""`relay serve`, and what it runs for each of several workers."""

import logging

import click

from relay import logs
from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings
from relay.cli.text import greeting
from relay.config import Settings, declared
from relay.process.server import BadCertificate, CannotListen
from relay.process.supervisor import supervise
from relay.process.workers import OpenSockets, open_sockets, serve_alone, serve_as_worker

log = logging.getLogger("relay.cli")


@click.command(cls=GroupedCommand)
@settings_options(declared())
def serve(**flags: str | None) -> None:
    """Start serving.

    Every setting is a flag here, or the variable named with it; a flag wins over the variable, that over the default.
    """
    settings, _ = load_settings(flags)
    logs.configure(settings.log_level, settings.log_format)
    try:
        opened = open_sockets(settings)
    except BadCertificate as error:
        fail([str(error)], status=2)
    except CannotListen as error:
        fail([f"cannot listen on {error}"], status=1)
    greeting_text = greeting(settings, opened.port)
    if settings.log_format == "text":
        click.echo(greeting_text)
    else:
        log.info(" ".join(greeting_text.split()))
    _serve(settings, opened)


@click.command(hidden=True)
def worker() -> None:
    """Be one worker of several; only `serve --workers` starts this."""
    serve_as_worker()


def _serve(settings: Settings, opened: OpenSockets) -> None:
    if settings.workers > 1:
        supervise(settings, opened)
    else:
        serve_alone(settings, opened)
