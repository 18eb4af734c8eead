from relay.identity import bearer_matches


def test_a_bearer_token_matches_only_itself() -> None:
    assert bearer_matches("Bearer s3cret", "s3cret")
    assert bearer_matches("bearer  s3cret ", "s3cret")
    for header in ("", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3crett", "Bearer \xe9"):
        assert not bearer_matches(header, "s3cret")
    assert not bearer_matches("Bearer ", "")
