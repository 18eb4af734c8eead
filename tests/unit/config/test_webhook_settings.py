"""The settings of the webhook."""

import pytest

from relay.config import SettingsError, load
from relay.config.settings import declared

URL = "https://user:Hidden1@app.example.com:8443/hook?key=Hidden2"
SECRET = "s" * 32


@pytest.mark.parametrize("url", ["http://10.0.0.7/x", "http://[::1]:3000", "https://localhost", URL])
def test_urls_of_any_server_are_allowed(url: str) -> None:
    settings = load({"webhook_url": url, "webhook_secret": SECRET}, {}).settings
    assert settings.webhook_url == url
    assert "Hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://Hidden@host", "http:// or https://"),
        ("app.example.com/Hidden", "http:// or https://"),
        ("https://", "no host"),
        ("https:///Hidden", "no host"),
        ("https://host:Hidden/", "port"),
        ("https://[Hidden/", "port"),
        ("https://host/Hidden#x", "fragment"),
        ("https://host/Hid den", "ASCII"),
        ("https://höst/Hidden", "ASCII"),
        ("https://host/" + "Hidden" * 400, "2048"),
    ],
)
def test_other_urls_are_refused_and_not_shown(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        load({"webhook_url": url, "webhook_secret": SECRET}, {})
    assert "Hidden" not in str(refused.value)
    assert "Hid" not in str(refused.value)


@pytest.mark.parametrize("secret", ["short", "s" * 31, f"{SECRET} short", f"{SECRET} {SECRET} {SECRET}", "ß" * 32])
def test_secrets_that_can_be_guessed_are_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match="up to 2 secrets"):
        load({"webhook_url": URL, "webhook_secret": secret}, {})


@pytest.mark.parametrize(
    ("flags", "missing"), [({"webhook_url": URL}, "webhook_secret"), ({"webhook_secret": SECRET}, "webhook_url")]
)
def test_url_and_secret_go_together(flags: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=f"{missing}: is missing"):
        load(flags, {})


def test_the_secret_is_for_the_webhook_alone() -> None:
    with pytest.raises(SettingsError, match="make one for the webhook alone"):
        load({"webhook_url": URL, "webhook_secret": f"{'n' * 32} {SECRET}", "admin_token": SECRET}, {})


def test_url_and_secret_may_be_in_files() -> None:
    secrets = {one.name: one.file_variable for one in declared() if one.name.startswith("webhook") and one.secret}
    assert sorted(secrets) == ["webhook_secret", "webhook_url"]
    files = {"/u": URL, "/s": SECRET}
    loaded = load({}, {secrets["webhook_url"]: "/u", secrets["webhook_secret"]: "/s"}, files.__getitem__)
    assert (loaded.settings.webhook_url, loaded.settings.webhook_secret) == (URL, SECRET)
