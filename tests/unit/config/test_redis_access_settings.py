"""The settings of Redis."""

import pytest

from relay.config import SettingsError, load


@pytest.mark.parametrize(("text", "replicas"), [("redis", 0), ("replicas=1", 1), ("replicas=9", 9)])
def test_durability_is_a_number_of_replicas(text: str, replicas: int) -> None:
    settings = load({"durability": text, "redis_url": "redis://h"}, {}).settings
    assert settings.replicas == replicas


@pytest.mark.parametrize("text", ["", "replicas=0", "replicas=10", "replicas", "2", "replicas=1 "])
def test_any_other_durability_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="durability"):
        load({"durability": text, "redis_url": "redis://h"}, {})
