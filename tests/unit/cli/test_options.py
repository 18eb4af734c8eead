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


SECRET = "Secret1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", f"redis://:{SECRET}@h"],
        ["config", "--redis-url", "redis://:my", SECRET, "password@h"],
        ["config", "--redis-url", f"redis://:{SECRET}", "rest@h"],
        ["config", f"--redis://:{SECRET}@h"],
        ["config", f"--redis_url:{SECRET}"],
        ["config", "--worker-id", f"redis://:{SECRET}@h"],
        ["config", "--redis-password", SECRET, "--redis-url", f"redis://:{SECRET}2@h"],
        [f"redis://:{SECRET}@h"],
        ["serve", "--redis", f"redis://:{SECRET}?rest@h"],
        ["rooms", "--redis-url", f"redis://user:{SECRET}#rest@h"],
        ["watch", "room", "--url", f"redis://user:{SECRET}@h"],
        ["watch", "room", "--url", f"ws://user:{SECRET}/x@h"],
    ],
)
def test_no_error_about_arguments_repeats_a_part_of_a_secret(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr
    assert SECRET not in done.output


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@127.0.0.1:1", f"http://u:{SECRET}/@h", f"user:{SECRET}@h"])
def test_health_does_not_repeat_a_password_in_its_url(url: str) -> None:
    done = run("health", "--url", url)
    assert done.exit_code == 1
    assert SECRET not in done.output


@pytest.mark.parametrize("text", [f"redis://:{SECRET}@h", SECRET, f"secret/{SECRET}", f"/run/x:{SECRET}@h"])
def test_a_secret_in_place_of_the_path_of_its_file_is_not_repeated(text: str) -> None:
    done = run("config", variables={"RELAY_REDIS_URL_FILE": text})
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr
    assert SECRET not in done.output


def test_a_misspelt_command_is_named() -> None:
    assert "No such command 'confg'" in run("confg").stderr
