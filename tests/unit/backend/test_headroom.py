"""Levels of memory: their beginnings, their ends and their log lines."""

import logging

import pytest

from relay.backend.headroom import Headroom, Level


def levels(headroom: Headroom, *shares: int) -> list[Level]:
    found = []
    for share in shares:
        headroom.report(share, 100)
        found.append(headroom.level)
    return found


def test_levels_begin_at_their_marks_and_end_below_them() -> None:
    low, full, ample = Level.LOW, Level.FULL, Level.AMPLE
    assert levels(Headroom(0.8), 79, 80, 76, 75, 79, 89, 90, 86, 85, 76, 74) == [
        ample, low, low, ample, ample, low, full, full, low, low, ample,
    ]  # fmt: skip


def test_without_a_limit_there_is_ample_memory() -> None:
    shares: list[float] = []
    headroom = Headroom(0.8, "Redis", shares.append)
    headroom.report(90, 100)
    headroom.report(10**12, 0)
    assert (headroom.level, headroom.share) == (Level.AMPLE, None)
    assert shares[0] == 0.9
    assert shares[1] != shares[1]
    assert headroom.text == "Redis has no limit that the relay knows"


def test_memory_that_refuses_writes_is_full_also_without_known_figures() -> None:
    headroom = Headroom(0.8)
    headroom.report_refusal(refuses=True)
    assert headroom.level is Level.FULL
    headroom.report(10, 100)
    assert headroom.level is Level.FULL
    headroom.report_refusal(refuses=False)
    assert headroom.level is Level.AMPLE


def test_each_change_is_told_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Level] = []
    headroom = Headroom(0.8, "Redis's maxmemory")
    headroom.watch(told.append)
    levels(headroom, 10, 81, 82, 83, 95, 96, 10, 11)
    assert told == [Level.AMPLE, Level.LOW, Level.FULL, Level.AMPLE]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR, logging.WARNING]
    assert "81% of Redis's maxmemory is used: clients cannot open new rooms (memory_low)" in caplog.text
    assert "10% of Redis's maxmemory is used; everything is stored again" in caplog.text
