"""The declaration of a gateway."""

from msgspec import Struct

from relay.config import Extension, OldName
from relay.gateways import GATEWAYS
from relay.gateways.base.gateway import Gateway


def test_snippets_are_a_file_of_the_gateway_if_it_has_one() -> None:
    for gateway in GATEWAYS.values():
        assert gateway.snippets.count('<div class="panel"') == gateway.snippets.count("</div>") >= 1
    assert Gateway(name="base", title="X", protocols=("x",)).snippets == ""


class Some(Struct, frozen=True):
    """Settings of a gateway."""


def test_a_gateway_without_settings_has_no_extension() -> None:
    assert Gateway(name="x", title="X", protocols=("x",)).extension is None


def test_settings_are_read_together_with_their_old_names() -> None:
    old = (OldName("older", "newer"),)
    assert Gateway(name="x", title="X", protocols=("x",), settings=Some, old_names=old).extension == Extension(
        Some, old
    )
