import pytest
from starlette.datastructures import QueryParams

from relay.gateways.base.query import parse_since, read_channels, read_flag
from relay.model.envelope import MessageId
from relay.model.errors import Refused


def test_since() -> None:
    assert parse_since("") is None
    assert parse_since("17-4") == MessageId(17, 4)
    with pytest.raises(Refused, match="bad_query"):
        parse_since("17")


def test_flags() -> None:
    assert read_flag(QueryParams("a=1"), "a")
    assert not read_flag(QueryParams("a="), "a")
    assert not read_flag(QueryParams(""), "a")
    with pytest.raises(Refused, match="a is 1 or 0"):
        read_flag(QueryParams("a=2"), "a")


def test_channels() -> None:
    assert read_channels(QueryParams("")) is None
    assert read_channels(QueryParams("channel=a&channel=b")) == ["a", "b"]
    with pytest.raises(Refused, match="bad_query"):
        read_channels(QueryParams(f"channel={'x' * 5000}"))
