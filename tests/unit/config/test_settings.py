"""The declarations of the settings, and the display of their values."""

import pytest

from relay.config import Setting, declared, masked

SETTINGS = {setting.name: setting for setting in declared()}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://user:pass@localhost/1", "redis://***@localhost/1"),
        ("rediss://:p@ss@host:1", "rediss://***@host:1"),
        ("unix:///run/redis.sock?db=1&password=x", "unix:///run/redis.sock?***"),
        ("redis://host?password=a@b", "redis://host?***"),
    ],
)
def test_redis_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert masked(SETTINGS["redis_url"], url) == shown


def test_token_is_not_shown() -> None:
    assert masked(SETTINGS["admin_token"], "hunter2") == "***"
    assert masked(SETTINGS["redis_password"], "hunter://2") == "***"
    assert masked(SETTINGS["admin_token"], "") == ""
    assert masked(SETTINGS["port"], 8888) == "8888"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_has_a_description_and_names(setting: Setting) -> None:
    assert setting.description
    assert setting.description[0].isupper()
    assert not setting.description.endswith(".")
    assert setting.allowed
    assert setting.flag == "--" + setting.name.replace("_", "-")
    assert setting.variable == "RELAY_" + setting.name.upper()
    assert setting.file_variable == (f"{setting.variable}_FILE" if setting.secret else "")
    assert not setting.secret or setting.default == ""
