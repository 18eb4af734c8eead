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
    assert load({}, {"RELAY_REDIS_URL": ""})[0].redis_url == ""
    assert problems({}, {"RELAY_PORT": ""}) == [
        "port (from RELAY_PORT): '' is not allowed; allowed: a whole number, 0 to 65535"
    ]


def test_lists_are_comma_separated() -> None:
    settings, _ = load(
        {"allowed_origins": "https://a.example, https://b.example,"}, {"RELAY_TRUSTED_PROXIES": "10.0.0.0/8,::1"}
    )
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
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
        ("redis_url", "http://localhost"),
        ("redis_url", "redis://"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("reconnect_grace", "soon"),
        ("reconnect_grace", "-1"),
        ("reconnect_grace", "nan"),
        ("worker_lease", "inf"),
        ("redis_prefix", "with{braces}"),
        ("redis_prefix", ""),
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
    assert len(problems({"port": "x"}, {"RELAY_RECONNECT_GRACE": "y", "RELAY_NONSENSE": "z"})) == 3


def test_unknown_variable_is_refused() -> None:
    (problem,) = problems({}, {"RELAY_PROT": "80"})
    assert problem.startswith("RELAY_PROT: there is no such setting")


def test_secret_is_not_in_the_error() -> None:
    assert "hunter2" not in "".join(problems({"redis_url": "mysql://user:hunter2@db"}))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"workers": "2"}, "workers: 2 is not allowed without Redis"),
        ({"tls_cert": "a.pem"}, "tls_key: is missing"),
        ({"tls_key": "a.pem"}, "tls_cert: is missing"),
        ({"port": "80", "admin_port": "80"}, "admin_port: 80 is not allowed"),
        ({"presence_ttl": "15"}, "presence_ttl: must be longer"),
        ({"history_ttl": "10"}, "history_ttl: must not be shorter"),
        ({"redis_url": "redis://:a@db", "redis_password": "b"}, "redis_password: the Redis URL has a password already"),
        ({"redis_url": "redis://db?password=a", "redis_password": "b"}, "redis_password: the Redis URL has a password"),
    ],
)
def test_contradictions_are_refused(flags: dict[str, str], text: str) -> None:
    (problem,) = problems(flags)
    assert problem.startswith(text)


def test_several_workers_are_allowed_with_redis() -> None:
    assert load({"workers": "2", "redis_url": "redis://localhost"}, {})[0].workers == 2


def test_a_user_in_the_url_has_a_password_elsewhere() -> None:
    assert load({"redis_url": "redis://relay@db", "redis_password": "b"}, {})[0].redis_password == "b"


# Secrets in files.


def test_a_secret_is_read_from_the_file_that_its_variable_names() -> None:
    settings, sources = load({}, {"RELAY_ADMIN_TOKEN_FILE": "/run/token"}, {"/run/token": "hunter2"}.__getitem__)
    assert settings.admin_token == "hunter2"
    assert sources["admin_token"] == "RELAY_ADMIN_TOKEN_FILE"


def test_a_flag_wins_over_a_file_which_is_not_read_then() -> None:
    assert load({"admin_token": "flag"}, {"RELAY_ADMIN_TOKEN_FILE": "nowhere"})[0].admin_token == "flag"


def test_a_variable_and_its_file_contradict_each_other() -> None:
    both = {"RELAY_ADMIN_TOKEN": "a", "RELAY_ADMIN_TOKEN_FILE": "b"}
    (problem,) = problems({}, both)
    assert problem == "admin_token: RELAY_ADMIN_TOKEN and RELAY_ADMIN_TOKEN_FILE are both set; leave one out"


def test_only_secrets_have_files() -> None:
    in_files = {one.name for one in SETTINGS.values() if one.file_variable}
    assert in_files == {"redis_url", "redis_password", "admin_token", "ice_servers"}
    (problem,) = problems({}, {"RELAY_PORT_FILE": "/etc/port"})
    assert problem.startswith("RELAY_PORT_FILE: there is no such setting")


def test_what_is_wrong_with_a_file_is_said_without_what_is_in_it() -> None:
    def refuse(path: str) -> str:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(SettingsError) as unreadable:
        load({}, {"RELAY_REDIS_URL_FILE": "/run/redis"}, refuse)
    assert unreadable.value.lines == [
        "redis_url (from RELAY_REDIS_URL_FILE): the file '/run/redis' cannot be read: Permission denied"
    ]
    with pytest.raises(SettingsError) as wrong:
        load({}, {"RELAY_REDIS_URL_FILE": "/run/redis"}, lambda _: "mysql://hunter2@db")
    assert wrong.value.lines[0].startswith("redis_url (from RELAY_REDIS_URL_FILE): *** is not allowed")


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
    assert masked(SETTINGS["redis_url"], url) == shown


def test_token_is_not_shown() -> None:
    assert masked(SETTINGS["admin_token"], "hunter2") == "***"
    assert masked(SETTINGS["redis_password"], "hunter://2") == "***"
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
    assert setting.file_variable == (f"{setting.variable}_FILE" if setting.secret else "")
    assert not setting.secret or setting.default == ""
