"""The declarations of the settings, and the display of their values."""

import pytest

from relay.config import ListenAddress, Setting, Settings, declared, masked
from relay.config.settings import parse_listen

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


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", None),
        ("9090", ListenAddress("127.0.0.1", 9090)),
        ("0.0.0.0:9090", ListenAddress("0.0.0.0", 9090)),
        ("relay.example:1", ListenAddress("relay.example", 1)),
        ("[::1]:65535", ListenAddress("::1", 65535)),
    ],
)
def test_an_address_to_listen_on_is_read(text: str, address: ListenAddress | None) -> None:
    assert parse_listen(text) == address
    assert Settings(admin_listen=text).admin_address == address


@pytest.mark.parametrize("text", ["0", "65536", "host", ":9090", "::1:9090", "[::1]", "a b:1", "1:2:3", "-1", "٣"])
def test_an_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


@pytest.mark.parametrize(("rate", "burst"), [(200, 400), (6.5, 13), (5, 10), (0.1, 10)])
def test_the_burst_is_twice_the_rate_and_at_least_ten(rate: float, burst: float) -> None:
    assert Settings(message_rate=rate).message_burst == burst
