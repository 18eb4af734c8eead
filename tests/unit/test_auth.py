from relay import auth


def test_a_bearer_token_matches_only_itself() -> None:
    assert auth.bearer_matches("Bearer s3cret", "s3cret")
    assert auth.bearer_matches("bearer  s3cret ", "s3cret")
    for header in ("", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3crett", "Bearer \xe9"):
        assert not auth.bearer_matches(header, "s3cret")
    assert not auth.bearer_matches("Bearer ", "")


def test_keys_and_ids_are_new_each_time() -> None:
    assert len({auth.new_resume_key() for _ in range(100)}) == 100
    assert len({auth.new_peer_id() for _ in range(100)}) == 100
    assert auth.fingerprint("") == ""
    assert len(auth.fingerprint("key")) == 64
