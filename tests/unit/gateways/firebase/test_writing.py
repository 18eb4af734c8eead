"""Increments."""

from typing import Any

import pytest

from relay.gateways.firebase.places import TreePlace
from relay.gateways.firebase.writing import write_value
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import Refused
from relay.model.tree import contents_of, leaves_of, sorted_leaves
from relay.model.tree_changes import Expected, PathWrite, TreeChange, TreePart

PLACE = TreePlace("room", "n")
ADD = {".sv": {"increment": 2}}


class Store:
    """One value, which somebody else changes ahead of as many writes as the test says."""

    def __init__(self, others: int) -> None:
        self.value: Any = 1
        self.others = others

    def make(self, value: Any) -> TreeChange:
        return TreeChange([PathWrite("n", leaves_of(value, "n"))], b"")

    def part(self) -> TreePart:
        return TreePart(sorted_leaves(leaves_of(self.value, "n")), BEFORE_ALL, BEFORE_ALL, 0)

    async def read(self) -> TreePart:
        return self.part()

    async def write(self, change: TreeChange, expected: Expected | None) -> None:
        if self.others:
            self.others -= 1
            self.value += 10
        if expected is not None and expected.contents != contents_of(self.part().leaves):
            raise Refused("stale_value")
        self.value = int(change.writes[0].leaves["n"])


async def test_an_increment_is_added_to_the_value_that_others_have_written_meanwhile() -> None:
    store = Store(others=3)
    await write_value(PLACE, ADD, store.make, store.read, store.write)
    assert store.value == 1 + 3 * 10 + 2


async def test_other_values_are_written_over_any() -> None:
    store = Store(others=1)
    await write_value(PLACE, 5, store.make, store.read, store.write)
    assert store.value == 5


async def test_a_value_that_others_change_all_the_time_is_given_up() -> None:
    store = Store(others=1000)
    with pytest.raises(Refused, match="stale_value"):
        await write_value(PLACE, ADD, store.make, store.read, store.write)
    assert store.others > 900


async def test_another_error_is_none_of_a_race() -> None:
    async def refuse(change: TreeChange, expected: Expected | None) -> None:
        raise Refused("tree_full")

    store = Store(others=0)
    with pytest.raises(Refused, match="tree_full"):
        await write_value(PLACE, ADD, store.make, store.read, refuse)
