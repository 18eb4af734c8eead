from relay.gateways.base.recent_ids import RecentIds


def test_an_id_is_remembered_for_a_while() -> None:
    now = 100.0
    ids = RecentIds(lambda: now, seconds=10, most=3)
    assert ids.add("a")
    assert not ids.add("a")
    now += 5
    assert ids.add("b")
    assert ("a" in ids, "b" in ids) == (True, True)
    now += 6
    assert ("a" in ids, "b" in ids, len(ids)) == (False, True, 1)
    assert ids.add("a")


def test_the_newest_ids_are_remembered_and_no_more_than_allowed() -> None:
    ids = RecentIds(lambda: 0.0, seconds=10, most=2)
    for one in ("a", "b", "c"):
        assert ids.add(one)
    assert [one for one in ("a", "b", "c") if one in ids] == ["b", "c"]
    assert len(ids) == 2
