from relay import ids


def test_keys_and_ids_are_new_each_time() -> None:
    random = ids.IdGenerator()
    made = [make() for _ in range(1000) for make in (random.resume_key, random.peer_id)]
    assert len(set(made)) == 2000
    assert {len(key) for key in made} == {22, 24}
    assert ids.fingerprint("") == ""
    assert len(ids.fingerprint("key")) == 64


def test_random_bits_are_drawn_many_at_a_time_and_used_once() -> None:
    draws = []

    def draw(count: int) -> bytes:
        draws.append(count)
        return len(draws).to_bytes(1, "big") * count

    random = ids.IdGenerator(draw)
    assert [random.peer_id() for _ in range(342)] == ["01" * 12] * 341 + ["02" * 12]
    assert draws == [4096, 4096]
