"""The clients of python-socketio 5 and 4, each of which runs in a virtual environment of its own."""

import functools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.language_cases import Case, Ground, Library, rows
from tests.fleet import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "python" / "program.py"


def command(version: str, kind: str) -> Sequence[str]:
    interpreter = ROOT / f"build/clients/python-{version}/bin/python"
    if not interpreter.exists():
        reason = f"{interpreter.relative_to(ROOT)} is not installed; `make test-gateways` installs it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return [str(interpreter), str(PROGRAM), kind]


LIBRARIES = [
    Library(f"python-socketio {version} {kind}", functools.partial(command, version, kind))
    for version in ("5", "4")
    for kind in ("sync", "asyncio")
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(redis_server: RedisServer) -> AsyncIterator[Ground]:
    async with Ground(redis_server.url) as ground:
        yield ground


@pytest.mark.parametrize(("library", "transport", "case"), rows(LIBRARIES))
async def test_case(ground: Ground, library: Library, transport: str, case: Case) -> None:
    await case(await ground.stage(library, transport, case))
