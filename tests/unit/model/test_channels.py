"""Labels of channels."""

import msgspec
import pytest

from relay.model.channels import MAX_LABEL, Label, label, labels
from relay.model.errors import Refused

_value = msgspec.json.Decoder(Label | None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"https://example.com/call?room=1#token"', "https://example.com/call?room=1#token"),
        ('""', ""),
        ("null", ""),
        ("7", "7"),
        ("-7", "-7"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1.0", "1"),
        ("-0.0", "0"),
        ("0.1", "0.1"),
        ("0.8437429370465243", "0.8437429370465243"),
        ("0.000015", "0.000015"),
        ("1.5e-7", "1.5e-7"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("-2.5e300", "-2.5e+300"),
        ("true", "true"),
        ("false", "false"),
    ],
)
def test_a_value_names_the_channel_that_javascript_makes_of_it(value: str, text: str) -> None:
    assert label(_value.decode(value)) == text


@pytest.mark.parametrize("text", ["x" * MAX_LABEL, "é" * (MAX_LABEL // 2), "😀" * (MAX_LABEL // 4)])
def test_the_bound_is_in_bytes(text: str) -> None:
    assert label(text) == text
    with pytest.raises(Refused, match=f"has {len((text + 'x').encode())} bytes.* a shorter one"):
        label(text + "x")


def test_a_number_of_too_many_digits_is_refused() -> None:
    with pytest.raises(Refused, match="too many digits"):
        label(10**5000)
    with pytest.raises(Refused, match="bytes"):
        label(10**3000)


def test_one_label_that_is_too_long_refuses_the_list() -> None:
    assert labels(["a", 1, True]) == ["a", "1", "true"]
    with pytest.raises(Refused):
        labels(["a", "x" * 3000])
