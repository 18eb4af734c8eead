"""The declaration of a gateway."""

from msgspec import Struct

from relay.config import Extension, OldName
from relay.gateways.base.gateway import Gateway


class Some(Struct, frozen=True):
    """Settings of a gateway."""


def test_a_gateway_without_settings_has_no_extension() -> None:
    assert Gateway(name="x", title="X", protocols=("x",)).extension is None


def test_settings_are_read_together_with_their_old_names() -> None:
    old = (OldName("older", "newer"),)
    assert Gateway(name="x", title="X", protocols=("x",), settings=Some, old_names=old).extension == Extension(
        Some, old
    )
