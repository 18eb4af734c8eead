"""The options of a command, and how its help groups them."""

import re

import click
import pytest
from click.testing import CliRunner

from relay.cli.options import GROUPS, GroupedCommand, every_old_name, every_setting, settings_options
from tests.unit.cli.conftest import run


@pytest.mark.parametrize("command", ["serve", "config"])
def test_help_shows_every_setting_with_its_variable(command: str) -> None:
    output = run(command, "--help").output
    for setting in every_setting():
        assert setting.flag in output
        assert setting.variable in re.sub(r"\s+", "", output)


def test_help_has_every_setting_under_one_heading() -> None:
    grouped = " ".join(GROUPS.values()).split()
    assert sorted(grouped) == sorted(setting.name for setting in every_setting())


def test_help_does_not_show_old_names() -> None:
    flags = re.findall(r"(?<!\S)--[a-z-]+", run("serve", "--help").output)
    assert not {one.flag for one in every_old_name()} & set(flags)


def test_a_misspelt_option_gets_no_old_name_suggested() -> None:
    assert run("serve", "--orgins", "x").stderr.endswith(
        "No such option '--orgins'. Did you mean '--allowed-origins'?\n"
    )
    assert run("serve", "--grac", "5").stderr.endswith("No such option '--grac'.\n")


def test_a_command_may_have_some_of_the_settings_and_their_old_names() -> None:
    @click.command(cls=GroupedCommand)
    @settings_options("redis_url", "message_rate")
    def command(**flags: str | None) -> None:
        click.echo(sorted(flags.items()))

    expected = [("message_rate", None), ("redis", "redis://old"), ("redis_url", None)]
    assert CliRunner().invoke(command, ["--redis", "redis://old"]).output == f"{expected}\n"


def test_the_value_of_an_option_is_named_by_its_kind() -> None:
    output = run("serve", "--help").output
    for text in ("--port NUMBER", "--worker-lease SECONDS", "--pages on|off", "--host TEXT", "--allowed-origins LIST"):
        assert text in output
