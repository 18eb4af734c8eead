"""The names of workers in session ids."""

from relay.model.workers import GROUP_SIZE, LocalWorkers, Owner, new_group


def test_an_owner_as_text() -> None:
    assert str(Owner(b"\x00\x01\x02\xfd\xfe\xff", 3)) == "000102fdfeff-3"


def test_groups_are_random() -> None:
    groups = {new_group() for _ in range(100)}
    assert len(groups) == 100
    assert {len(group) for group in groups} == {GROUP_SIZE}


def test_a_lone_worker_is_the_first_of_a_group_of_its_own() -> None:
    one, two = LocalWorkers(), LocalWorkers()
    assert (one.owner.index, one.sockets, one.forward_address) == (0, (), "")
    assert one.owner.group != two.owner.group
