"""`relay config`: the settings in effect."""

import click

from relay.cli.options import GroupedCommand, every_setting, settings_options
from relay.cli.settings import load_settings, warn
from relay.cli.text import aligned, shown


@click.command(cls=GroupedCommand)
@settings_options()
def config(**flags: str | None) -> None:
    """Print the settings in effect.

    Each line names the setting, its value and its source: a flag, a variable, or the default. Secrets are masked.
    """
    settings, sources, warnings = load_settings(flags)
    warn(warnings)
    rows = [(one.name, shown(one, settings.value(one)), sources[one.name]) for one in every_setting()]
    click.echo(aligned([("setting", "value", "from"), *rows]))
