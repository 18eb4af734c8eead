"""Settings that a package on a floor above declares."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Struct

from relay.config import Extension, OldName, Settings, SettingsError, declared, load
from relay.config.declaring import count, setting


def _check(text: str) -> None:
    if text == "wrong":
        raise ValueError


class Further(Struct, frozen=True):
    """Settings of a package above."""

    further_count: Annotated[int, count("Some number", le=9)] = 3
    further_names: Annotated[tuple[str, ...], setting("Some names", check=_check, min_length=1)] = ("a",)
    other: str = "no setting: it has no description"


FURTHER = [Extension(Further, (OldName("older_count", "further_count"),))]


def loaded(flags: dict[str, str], environ: dict[str, str] | None = None) -> Settings:
    return load(flags, environ or {}, extensions=FURTHER).settings


def test_they_are_declared_after_the_relays_own() -> None:
    assert [one.name for one in declared(Further)][-2:] == ["further_count", "further_names"]


def test_they_have_flags_variables_defaults_and_sources() -> None:
    assert loaded({}).of(Further) == Further()
    settings, sources, _ = load({"further_count": "5"}, {"RELAY_FURTHER_NAMES": "x, y"}, extensions=FURTHER)
    assert settings.of(Further) == Further(further_count=5, further_names=("x", "y"))
    assert (sources["further_count"], sources["further_names"]) == ("--further-count", "RELAY_FURTHER_NAMES")


def test_the_value_of_each_can_be_asked_for_alone() -> None:
    settings = loaded({"further_count": "5", "port": "9"})
    values = {one.name: settings.value(one) for one in declared(Further)}
    assert (values["further_count"], values["further_names"], values["port"]) == (5, ("a",), 9)


def test_their_old_names_are_accepted() -> None:
    settings, _, warnings = load({}, {"RELAY_OLDER_COUNT": "7"}, extensions=FURTHER)
    assert settings.of(Further).further_count == 7
    assert "RELAY_OLDER_COUNT is now called RELAY_FURTHER_COUNT" in warnings[0]


@pytest.mark.parametrize(
    "flags", [{"further_count": "10"}, {"further_names": "a,wrong"}, {"further_names": " , "}, {"further_names": ""}]
)
def test_wrong_values_are_reported(flags: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(flags)
    assert len(error.value.lines) == 1


def test_without_the_declaration_a_variable_is_unknown() -> None:
    with pytest.raises(SettingsError, match="RELAY_FURTHER_COUNT: there is no such setting"):
        load({}, {"RELAY_FURTHER_COUNT": "5"})


def test_they_reach_a_worker_process_as_json() -> None:
    settings = loaded({"further_names": "x,y"})
    sent = msgspec.json.decode(msgspec.json.encode(settings), type=Settings)
    assert sent.of(Further) == Further(further_names=("x", "y"))
