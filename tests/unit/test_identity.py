import pytest

from relay.identity import has_admin_token
from relay.model.errors import Refused


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer  s3cret "])
def test_the_admin_token_matches(header: str) -> None:
    assert has_admin_token("s3cret", header)


@pytest.mark.parametrize("header", [None, "", "s3cret", "Basic s3cret", "Bearer"])
def test_a_request_without_a_bearer_token_has_none(header: str | None) -> None:
    assert not has_admin_token("s3cret", header)
    assert has_admin_token("s3cret", header, otherwise="s3cret")


@pytest.mark.parametrize("header", ["Bearer ", "Bearer s3cre", "Bearer s3crett", "Bearer \xe9"])
def test_another_token_is_refused(header: str) -> None:
    with pytest.raises(Refused, match="unauthorized"):
        has_admin_token("s3cret", header, otherwise="s3cret")


@pytest.mark.parametrize("other", ["", "s3cre", "\xe9"])
def test_another_token_in_another_part_is_refused(other: str) -> None:
    with pytest.raises(Refused, match="unauthorized"):
        has_admin_token("s3cret", None, otherwise=other)


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer s3cret"])
def test_without_an_admin_token_in_the_settings_no_request_has_it(header: str | None) -> None:
    assert not has_admin_token("", header, otherwise="")
