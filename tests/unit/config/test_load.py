"""Reading settings: flags, variables and files, and the errors for wrong ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Settings, SettingsError, declared, load

SETTINGS = {setting.name: setting for setting in declared()}


def problems(flags: dict[str, str], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(flags, environ or {})
    return error.value.lines


# Sources.


def test_the_default_holds_when_nothing_is_set() -> None:
    settings, sources, _ = load({}, {})
    assert settings == Settings()
    assert set(sources.values()) == {"default"}
    assert set(sources) == set(SETTINGS)


def test_flag_wins_over_variable_and_variable_over_default() -> None:
    settings, sources, _ = load({"port": "1"}, {"RELAY_PORT": "2", "RELAY_HOST": "::1", "PATH": "/bin"})
    assert (settings.port, settings.host, settings.workers) == (1, "::1", 1)
    assert (sources["port"], sources["host"], sources["workers"]) == ("--port", "RELAY_HOST", "default")


def test_empty_variable_is_a_value() -> None:
    assert load({}, {"RELAY_REDIS_URL": ""})[0].redis_url == ""
    assert problems({}, {"RELAY_PORT": ""}) == [
        "port (from RELAY_PORT): '' is not allowed; allowed: a whole number, 0 to 65535"
    ]


def test_lists_are_comma_separated() -> None:
    settings, _, _ = load(
        {"allowed_origins": "https://a.example, https://b.example,"}, {"RELAY_TRUSTED_PROXIES": "10.0.0.0/8,::1"}
    )
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")


# Errors.


FORWARD = {"forward_listen": "8890", "forward_networks": "127.0.0.0/8", "redis_url": "redis://db"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "eighty"),
        ("port", "65536"),
        ("port", "-1"),
        ("workers", "0"),
        ("workers", "1.5"),
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
        ("admin_listen", "0"),
        ("admin_listen", "host"),
        ("forward_listen", "localhost:8890"),
        ("forward_listen", "0"),
        ("forward_networks", "everywhere"),
        ("forward_networks", "10.0.0.1/8"),
    ],
)
def test_a_wrong_value_is_reported_with_the_allowed_ones(name: str, text: str) -> None:
    (problem,) = problems({name: text})
    shown = "***" if SETTINGS[name].secret else repr(text)
    assert problem == f"{name} (from {SETTINGS[name].flag}): {shown} is not allowed; allowed: {SETTINGS[name].allowed}"


def test_every_problem_is_reported_at_once() -> None:
    assert len(problems({"port": "x"}, {"RELAY_RECONNECT_GRACE": "y", "RELAY_NONSENSE": "z"})) == 3


def test_unknown_variable_is_refused() -> None:
    (problem,) = problems({}, {"RELAY_NONSENSE": "80"})
    assert problem == "RELAY_NONSENSE: there is no such setting; `relay serve --help` lists them all"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RELAY_PROT", "RELAY_PORT"),
        ("RELAY_OBSERVER_PER_ROOM", "RELAY_OBSERVERS_PER_ROOM"),
        ("RELAY_FLEET_SECRETS_FILE", "RELAY_FLEET_SECRET_FILE"),
    ],
)
def test_a_similar_variable_is_named(variable: str, meant: str) -> None:
    (problem,) = problems({}, {variable: "80"})
    assert problem == f"{variable}: there is no such setting; did you mean {meant}?"


def test_no_error_contains_a_secret() -> None:
    assert "hunter2" not in "".join(problems({"redis_url": "mysql://user:hunter2@db"}))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"workers": "2"}, "workers: 2 is not allowed without Redis"),
        ({"durability": "replicas=1"}, "durability: replicas=1 is not allowed without Redis"),
        ({"tls_cert": "a.pem"}, "tls_key: is missing"),
        ({"tls_key": "a.pem"}, "tls_cert: is missing"),
        ({"port": "80", "admin_listen": "80"}, "admin_listen: port 80 is not allowed"),
        ({"forward_listen": "8890"}, "forward_networks: is missing"),
        ({"forward_networks": "10.0.0.0/8"}, "forward_listen: is missing"),
        ({"forward_listen": "8890", "forward_networks": "127.0.0.0/8"}, "forward_listen: is not allowed without Redis"),
        (FORWARD | {"forward_listen": "10.0.0.1:8890"}, "forward_listen: 10.0.0.1 is in none of the forward_networks"),
        (FORWARD | {"forward_listen": "8888"}, "forward_listen: port 8888 is not allowed: setting port uses it"),
        (FORWARD | {"forward_listen": "8887", "workers": "2"}, "forward_listen: port 8888 is not allowed"),
        (FORWARD | {"admin_listen": "8890"}, "forward_listen: port 8890 is not allowed: setting admin_listen uses it"),
        (FORWARD | {"forward_listen": "65535", "workers": "2"}, "forward_listen: 2 workers need ports up to 65536"),
        ({"room_state_ttl": "15"}, "room_state_ttl: must be longer"),
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
    settings, sources, _ = load({}, {"RELAY_ADMIN_TOKEN_FILE": "/run/token"}, {"/run/token": "hunter2" * 3}.__getitem__)
    assert settings.admin_token == "hunter2" * 3
    assert sources["admin_token"] == "RELAY_ADMIN_TOKEN_FILE"


def test_a_flag_wins_over_a_file_which_is_not_read_then() -> None:
    assert load({"admin_token": "f" * 16}, {"RELAY_ADMIN_TOKEN_FILE": "nowhere"})[0].admin_token == "f" * 16


def test_a_variable_and_its_file_contradict_each_other() -> None:
    both = {"RELAY_ADMIN_TOKEN": "a", "RELAY_ADMIN_TOKEN_FILE": "b"}
    (problem,) = problems({}, both)
    assert problem == "admin_token: RELAY_ADMIN_TOKEN and RELAY_ADMIN_TOKEN_FILE are both set; leave one out"


def test_only_secrets_have_files() -> None:
    in_files = {one.name for one in SETTINGS.values() if one.file_variable}
    assert in_files == {
        "redis_url", "redis_password", "admin_token", "fleet_secret", "ice_servers", "auth_secret", "turn_secret",
        "webhook_url", "webhook_secret",
    }  # fmt: skip
    (problem,) = problems({}, {"RELAY_PORT_FILE": "/etc/port"})
    assert problem.startswith("RELAY_PORT_FILE: there is no such setting")


def test_an_error_about_a_file_does_not_contain_its_content() -> None:
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
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        settings, _, _ = load({name: text}, {})
    except SettingsError as error:
        assert all(line.isprintable() for line in error.lines)
    else:
        assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    "text", ["x" * 31, "x" * 501, f"{'x' * 32}  {'y' * 32}", f"{'x' * 31}\n", " ".join(["x" * 32] * 4)]
)
def test_a_fleet_secret_that_is_too_short_or_malformed_is_refused_without_showing_it(text: str) -> None:
    (problem,) = problems({}, {"RELAY_FLEET_SECRET": text})
    assert problem == (
        "fleet_secret (from RELAY_FLEET_SECRET): *** is not allowed; allowed: empty, or up to 3 secrets with one space "
        "between, each of 32 to 500 printable ASCII characters"
    )


def test_the_admin_token_cannot_be_the_fleet_secret_as_well() -> None:
    new, old = "n" * 32, "o" * 32
    assert load({"fleet_secret": f"{new} {old}", "admin_token": "a" * 16}, {}).settings.fleet_secret.split() == [
        new,
        old,
    ]
    assert problems({"fleet_secret": f"{new} {old}", "admin_token": old}, {}) == [
        "fleet_secret: is the admin token as well; make another secret for one of them"
    ]
