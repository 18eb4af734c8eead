"""The index of subjects in memory; tests/contract/test_subjects.py has the common tests with the one in Redis."""

from relay.backend.memory.subjects import MemorySubjects
from relay.backend.subjects import Place


async def test_a_subject_ends_with_its_last_place() -> None:
    subjects = MemorySubjects()
    places = [Place("room", "p"), Place("room", "q")]
    for place in places:
        subjects.note("ann", place)
    for place in places:
        assert await subjects.find("ann", 5)
        subjects.forget("ann", place)
    assert not subjects._places
