"""Settings: where they come from, what is refused and how, what is shown of secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Setting, Settings, SettingsError, declared, load, masked

SETTINGS = {setting.name: setting for setting in declared()}


def problems(flags: dict[str, str], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(flags, environ or {})
    return error.value.lines


# Where they come from.


def test_default_stands_when_nothing_is_said() -> None:
    settings, sources = load({}, {})
    assert settings == Settings()
    assert set(sources.values()) == {"default"}
    assert set(sources) == set(SETTINGS)


def test_flag_wins_over_variable_and_variable_over_default() -> None:
    settings, sources = load({"port": "1"}, {"RELAY_PORT": "2", "RELAY_HOST": "::1", "PATH": "/bin"})
    assert (settings.port, settings.host, settings.workers) == (1, "::1", 1)
    assert (sources["port"], sources["host"], sources["workers"]) == ("--port", "RELAY_HOST", "default")


def test_empty_variable_is_a_value() -> None:
    assert load({}, {"RELAY_REDIS": ""})[0].redis == ""
    assert problems({}, {"RELAY_PORT": ""}) == [
        "port (from RELAY_PORT): '' is not allowed; allowed: a whole number, 0 to 65535"
    ]


def test_lists_are_comma_separated() -> None:
    settings, _ = load(
        {"origins": "https://a.example, https://b.example,"}, {"RELAY_TRUSTED_PROXIES": "10.0.0.0/8,::1"}
    )
    assert settings.origins == ("https://a.example", "https://b.example")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")


# What is refused.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "eighty"),
        ("port", "65536"),
        ("port", "-1"),
        ("workers", "0"),
        ("workers", "1.5"),
        ("redis", "http://localhost"),
        ("redis", "redis://"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("grace", "soon"),
        ("grace", "-1"),
        ("grace", "nan"),
        ("lease", "inf"),
        ("prefix", "with{braces}"),
        ("prefix", ""),
        ("worker_id", "a b"),
        ("default_room", ""),
        ("trusted_proxies", "everybody"),
        ("max_message", "0"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(name: str, text: str) -> None:
    (problem,) = problems({name: text})
    shown = "***" if SETTINGS[name].secret else repr(text)
    assert problem == f"{name} (from {SETTINGS[name].flag}): {shown} is not allowed; allowed: {SETTINGS[name].allowed}"


def test_every_problem_is_told_at_once() -> None:
    assert len(problems({"port": "x"}, {"RELAY_GRACE": "y", "RELAY_NONSENSE": "z"})) == 3


def test_unknown_variable_is_refused() -> None:
    (problem,) = problems({}, {"RELAY_PROT": "80"})
    assert problem.startswith("RELAY_PROT: there is no such setting")


def test_secret_is_not_in_the_error() -> None:
    assert "hunter2" not in "".join(problems({"redis": "mysql://user:hunter2@db"}))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"workers": "2"}, "workers: 2 is not allowed without Redis"),
        ({"tls_cert": "a.pem"}, "tls_key: is missing"),
        ({"tls_key": "a.pem"}, "tls_cert: is missing"),
        ({"port": "80", "admin_port": "80"}, "admin_port: 80 is not allowed"),
        ({"presence_ttl": "15"}, "presence_ttl: must be longer"),
        ({"replay_age": "10"}, "replay_age: must not be shorter"),
    ],
)
def test_contradictions_are_refused(flags: dict[str, str], text: str) -> None:
    (problem,) = problems(flags)
    assert problem.startswith(text)


def test_several_workers_are_allowed_with_redis() -> None:
    assert load({"workers": "2", "redis": "redis://localhost"}, {})[0].workers == 2


@given(st.sampled_from(sorted(SETTINGS)), st.text())
def test_no_text_is_more_than_refused(name: str, text: str) -> None:
    try:
        settings, _ = load({name: text}, {})
    except SettingsError as error:
        assert all(line.isprintable() for line in error.lines)
    else:
        assert isinstance(settings, Settings)


# What is shown.


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
    assert masked(SETTINGS["redis"], url) == shown


def test_token_is_not_shown() -> None:
    assert masked(SETTINGS["admin_token"], "hunter2") == "***"
    assert masked(SETTINGS["admin_token"], "") == ""
    assert masked(SETTINGS["port"], 8888) == "8888"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_says_what_it_is(setting: Setting) -> None:
    assert setting.description
    assert setting.description[0].isupper()
    assert not setting.description.endswith(".")
    assert setting.allowed
    assert setting.flag == "--" + setting.name.replace("_", "-")
    assert setting.variable == "RELAY_" + setting.name.upper()
    assert not setting.secret or setting.default == ""
