"""Running the command in this process."""

import pytest
from click.testing import CliRunner, Result

from relay import cli
from relay.cli.options import every_old_name, every_setting
from relay.config.declaring import to_variable


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(one.name for one in every_setting()), *(one.name for one in every_old_name())]:
        monkeypatch.delenv(to_variable(name), raising=False)


@pytest.fixture(autouse=True)
def no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the log of the test run as it is."""
    monkeypatch.setattr("relay.logs.configure", lambda *_, **__: None)


def run(*arguments: str, variables: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(cli.main, arguments, env=variables, prog_name="relay")
