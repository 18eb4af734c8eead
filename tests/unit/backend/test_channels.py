"""Names for channels that take little memory."""

from relay.backend.channels import bounded, digest


def test_short_channels_are_their_own_names_and_long_ones_are_hashed() -> None:
    assert bounded("chess") == "chess"
    assert bounded("x" * 2000) == digest("x" * 2000) != digest("x" * 2001)
    assert len(bounded("☃" * 600)) == 24


def test_text_that_is_no_unicode_has_a_hash() -> None:
    assert digest("\ud800") != digest("\ud801")
