"""`relay config`."""

import click

from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import load_settings
from relay.cli.text import aligned, settings_table, shown
from relay.config import declared


@click.command(cls=GroupedCommand)
@settings_options(declared())
@click.option("--markdown", is_flag=True, help="Print the table of all settings for the README instead.")
def config(markdown: bool, **flags: str | None) -> None:
    """Print the settings in effect, and where each comes from; secrets are masked."""
    settings, sources = load_settings(flags)
    if markdown:
        click.echo(settings_table())
        return
    rows = [(one.name, shown(one, getattr(settings, one.name)), sources[one.name]) for one in declared()]
    click.echo(aligned([("setting", "value", "from"), *rows]))
