"""Messages of other protocols, as values."""

import json
from typing import Any

import pytest

from relay.gateways.firebase.foreign import as_value


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("plain { text", "plain { text"),
        (5, 5),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ({"a.b": {"c/d": 1}, "$x": 2, "#[]": 3}, {"a%2Eb": {"c%2Fd": 1}, "%24x": 2, "%23%5B%5D": 3}),
        ({".priority": {"x": 1}, ".sv": "timestamp"}, {"%2Epriority": {"x": 1}, "%2Esv": "timestamp"}),
        ({"": 1, "line\nend": 2, "kept": [{"": 1}]}, {"line%0Aend": 2, "kept": [{}]}),
    ],
)
def test_keys_that_no_value_may_have_are_written_otherwise(message: Any, value: Any) -> None:
    assert json.loads(as_value(json.dumps(message).encode())) == value
