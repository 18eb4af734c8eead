from relay import auth


def test_a_bearer_token_matches_only_itself() -> None:
    assert auth.bearer_matches("Bearer s3cret", "s3cret")
    assert auth.bearer_matches("bearer  s3cret ", "s3cret")
    for header in ("", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3crett", "Bearer \xe9"):
        assert not auth.bearer_matches(header, "s3cret")
    assert not auth.bearer_matches("Bearer ", "")


def test_keys_and_ids_are_new_each_time() -> None:
    random = auth.Random()
    made = [make() for _ in range(1000) for make in (random.resume_key, random.peer_id)]
    assert len(set(made)) == 2000
    assert {len(key) for key in made} == {22, 24}
    assert auth.fingerprint("") == ""
    assert len(auth.fingerprint("key")) == 64


def test_random_bits_are_drawn_many_at_a_time_and_used_once() -> None:
    draws = []

    def draw(count: int) -> bytes:
        draws.append(count)
        return len(draws).to_bytes(1, "big") * count

    random = auth.Random(draw)
    assert [random.peer_id() for _ in range(342)] == ["01" * 12] * 341 + ["02" * 12]
    assert draws == [4096, 4096]
