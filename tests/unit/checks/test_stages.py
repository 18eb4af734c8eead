"""Which tests a stage of the Makefile runs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

TESTS = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("backend", ["memory", "fakeredis", "redis"])
def test_a_redis_without_memory(backend, number): ...

@pytest.mark.parametrize("backend", ["one in memory", "two over Redis"])
def test_low_memory(backend): ...

def test_full_memory(): ...
"""


def test_the_stage_about_redis_runs_the_tests_about_its_memory_and_not_those_in_memory(tmp_path: Path) -> None:
    (chosen,) = re.findall(r"^OVER_REDIS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (tmp_path / "test_redis_memory.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-k", chosen, "-p", "no:cacheprovider"]
    told = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert re.findall(r"::(\S.*)", told) == [
        "test_a_redis_without_memory[redis-1]",
        "test_a_redis_without_memory[redis-2]",
        "test_low_memory[two over Redis]",
        "test_full_memory",
    ]
