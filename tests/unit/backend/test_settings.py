import pytest

from relay.backend.settings import RedisSettings


@pytest.mark.parametrize(
    ("url", "database"), [("redis://h", 0), ("redis://h/3", 3), ("unix:///run/s?db=4", 4), ("rediss://h:1?db=5", 5)]
)
def test_the_database_is_that_of_the_url(url: str, database: int) -> None:
    assert RedisSettings(url).database == database


def test_no_secret_is_in_the_representation() -> None:
    assert "Secret1" not in repr(RedisSettings("redis://:Secret1@h", "Secret1"))
