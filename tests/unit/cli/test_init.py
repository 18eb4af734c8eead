"""The command `relay` and its subcommands."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pytest

from relay import __version__, cli
from relay.build import BUILD
from tests.unit.cli.conftest import run


@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("relay"))], [sys.executable, "-m", "relay"]],
    ids=["relay", "python -m relay"],
)
def test_both_ways_to_start_it_print_the_version(command: Sequence[str]) -> None:
    if not Path(command[0]).exists() and "CI" not in os.environ:
        pytest.skip("the package is not installed in this environment; make test does it")
    done = subprocess.run([*command, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"relay, version {__version__} ({BUILD})\n"


def test_help_names_the_commands_for_people() -> None:
    output = run("--help").output
    assert all(name in output for name in ("serve", "config", "rooms", "watch", "token", "health"))
    assert "worker" not in output


def test_every_command_has_a_help_text() -> None:
    context = click.Context(cli.main)
    names = cli.main.list_commands(context)
    commands = [cli.main.get_command(context, name) for name in names]
    assert all(command and command.help for command in commands), names


@pytest.mark.parametrize(
    ("command", "expected"), [("serve", signal.SIG_IGN), ("worker", signal.SIG_IGN), ("rooms", signal.SIG_DFL)]
)
def test_a_server_ignores_sighup_before_it_is_imported(
    command: str, expected: signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def importing(name: str) -> ModuleType:
        seen.append(signal.getsignal(signal.SIGHUP))
        return import_module(name)

    monkeypatch.setattr(cli, "import_module", importing)
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        run(command, "--help")
    finally:
        signal.signal(signal.SIGHUP, former)
    assert seen == [expected]
