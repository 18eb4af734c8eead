"""Names of settings in earlier versions: accepted with a warning, as flags, variables and files."""

import re

import pytest

from relay.config import OLD_NAMES, OldName, Settings, SettingsError, declared, load

SETTINGS = {setting.name: setting for setting in declared()}
RENAMED = {
    "redis": ("redis_url", "redis://old", "redis://old"),
    "prefix": ("redis_prefix", "old", "old"),
    "origins": ("allowed_origins", "https://a.example,https://b.example", ("https://a.example", "https://b.example")),
    "publish_window": ("max_inflight_publishes", "7", 7),
    "presence_list": ("presence_list_limit", "7", 7),
    "probe_interval": ("probe_timeout", "7", 7.0),
    "lease": ("worker_lease", "7", 7.0),
    "grace": ("reconnect_grace", "7", 7.0),
    "replay_length": ("history_size", "7", 7),
    "replay_age": ("history_ttl", "77", 77.0),
}
FOLDED = {"admin_host", "admin_port", "presence_ttl", "sequence_ttl"}
REMOVED = {"message_burst", "publish_queue", "drain_rate"}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    return "RELAY_" + name.upper()


def problems(flags: dict[str, str], environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(flags, environ)
    return error.value.lines


def test_every_old_name_is_tested_and_no_longer_in_use() -> None:
    assert {one.name for one in OLD_NAMES} == {*RENAMED, *FOLDED, *REMOVED}
    assert not {one.name for one in OLD_NAMES} & set(SETTINGS)
    assert all(one.new in SETTINGS if one.new else one.now for one in OLD_NAMES)
    assert all(one.secret == SETTINGS[one.new].secret for one in OLD_NAMES if one.new)


# Renamed settings.


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_flag_is_accepted_with_a_warning(old: str) -> None:
    new, text, value = RENAMED[old]
    settings, sources, warnings = load({old: text}, {})
    assert getattr(settings, new) == value
    assert sources[new] == flag(old)
    assert warnings == [f"{flag(old)} is now called {flag(new)}; the relay accepts the old name until version 2.0"]


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_variable_is_accepted_with_a_warning(old: str) -> None:
    new, text, value = RENAMED[old]
    settings, sources, warnings = load({}, {variable(old): text})
    assert getattr(settings, new) == value
    assert sources[new] == variable(old)
    assert warnings == [
        f"{variable(old)} is now called {variable(new)}; the relay accepts the old name until version 2.0"
    ]


def test_an_old_file_variable_is_accepted_with_a_warning() -> None:
    settings, sources, warnings = load({}, {"RELAY_REDIS_FILE": "/run/redis"}, lambda path: f"unix://{path}")
    assert settings.redis_url == "unix:///run/redis"
    assert sources["redis_url"] == "RELAY_REDIS_FILE"
    assert warnings == [
        "RELAY_REDIS_FILE is now called RELAY_REDIS_URL_FILE; the relay accepts the old name until version 2.0"
    ]


def test_an_old_flag_wins_over_an_old_variable() -> None:
    settings, sources, warnings = load({"grace": "7"}, {"RELAY_GRACE": "8"})
    assert (settings.reconnect_grace, sources["reconnect_grace"], len(warnings)) == (7, "--grace", 1)


@pytest.mark.parametrize("old", [one for one in OLD_NAMES if one.new], ids=lambda one: one.name)
def test_an_old_name_and_the_new_one_contradict_each_other(old: OldName) -> None:
    new = SETTINGS[old.new]
    text = str(new.default)
    for flags, environ in (
        ({old.name: text, new.name: text}, {}),
        ({old.name: text}, {new.variable: text}),
        ({new.name: text}, {variable(old.name): text}),
        ({}, {variable(old.name): text, new.variable: text}),
    ):
        [problem] = problems(flags, environ)
        name = rf"({flag(old.name)}|{variable(old.name)})"
        assert re.match(rf"{new.name}: \S+ and {name} are both set, but \1 is an old name", problem)


def test_a_wrong_value_of_an_old_name_is_reported_with_its_source() -> None:
    assert problems({}, {"RELAY_GRACE": "soon"}) == [
        "reconnect_grace (from RELAY_GRACE): 'soon' is not allowed; allowed: seconds, 0 to 86400"
    ]


def test_a_warning_does_not_contain_a_secret() -> None:
    assert "hunter2" not in "".join(load({}, {"RELAY_REDIS": "redis://:hunter2@db"}).warnings)


# Folded settings.


@pytest.mark.parametrize(
    ("old", "listen"),
    [
        ({"admin_port": "9090"}, "127.0.0.1:9090"),
        ({"admin_port": "9090", "admin_host": "0.0.0.0"}, "0.0.0.0:9090"),
        ({"admin_port": "9090", "admin_host": "::1"}, "[::1]:9090"),
        ({"admin_port": "9090", "admin_host": ""}, "0.0.0.0:9090"),
        ({"admin_host": "0.0.0.0"}, ""),
        ({"admin_port": "0"}, ""),
    ],
)
def test_the_admin_host_and_port_become_one_address(old: dict[str, str], listen: str) -> None:
    for settings, _, warnings in (load(old, {}), load({}, {variable(name): text for name, text in old.items()})):
        assert settings == Settings(admin_listen=listen)
        assert len(warnings) == len(old)


@pytest.mark.parametrize("port", ["", "x", "65536"])
def test_a_wrong_admin_port_is_refused(port: str) -> None:
    [problem] = problems({"admin_port": port}, {})
    assert problem.startswith(f"admin_listen (from --admin-port): '127.0.0.1:{port}' is not allowed")


@pytest.mark.parametrize(
    ("old", "ttl"),
    [
        ({"presence_ttl": "7200", "sequence_ttl": "86400"}, 86_400),
        ({"presence_ttl": "60", "sequence_ttl": "90.5"}, 90.5),
        # The other one had a default of 3600.
        ({"presence_ttl": "60"}, 3600),
        ({"sequence_ttl": "7200"}, 7200),
    ],
)
def test_the_longer_of_two_times_to_live_is_that_of_the_room(old: dict[str, str], ttl: float) -> None:
    for settings, _, warnings in (load(old, {}), load({}, {variable(name): text for name, text in old.items()})):
        assert settings == Settings(room_state_ttl=ttl)
        assert len(warnings) == len(old)


@pytest.mark.parametrize("text", ["long", "", "nan", "inf", "1"])
def test_a_wrong_time_to_live_is_refused(text: str) -> None:
    [problem] = problems({"presence_ttl": text, "sequence_ttl": "1"}, {})
    assert problem.startswith("room_state_ttl (from --presence-ttl, --sequence-ttl): ")


def test_a_folded_setting_warns_of_the_value_in_use() -> None:
    assert load({}, {"RELAY_ADMIN_PORT": "9090"}).warnings == [
        "RELAY_ADMIN_PORT has become part of RELAY_ADMIN_LISTEN; the relay uses RELAY_ADMIN_LISTEN=127.0.0.1:9090, "
        "and accepts the old name until version 2.0"
    ]
    assert load({"presence_ttl": "60"}, {}).warnings == [
        "--presence-ttl has become part of --room-state-ttl; the relay uses --room-state-ttl 3600, "
        "and accepts the old name until version 2.0"
    ]


# Removed settings.


@pytest.mark.parametrize("old", sorted(REMOVED))
def test_a_removed_setting_has_no_effect_but_a_warning(old: str) -> None:
    for settings, _, [warning] in (load({old: "5"}, {}), load({}, {variable(old): "5"})):
        assert settings == Settings()
        assert re.match(r"\S+ has no effect any more: .*; the relay accepts the old name until version 2\.0", warning)
