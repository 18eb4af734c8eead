"""`make audit` reports vulnerable packages, and takes no silence of a service for a pass."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.audit.__main__ import ROOT, locks, main

CLEAN_PIP = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
CLEAN_NPM = {"vulnerabilities": {}, "metadata": {"vulnerabilities": {"total": 0}}}
BAD_PIP = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}
BAD_NPM = {"vulnerabilities": {"b": {"range": "<2", "severity": "high"}}}
# As pip-audit and npm answer where the registry has packages and no advisories.
SKIPPED_PIP = {"dependencies": [{"name": "a", "skip_reason": "Dependency not found on PyPI: a (1)"}], "fixes": []}
REFUSED_NPM = {"message": "405 Method Not Allowed - POST https://registry/advisories/bulk", "statusCode": 405}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("requirements.lock", "tests/p/package-lock.json", "tests/p/node_modules/q/package-lock.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pip", "npm", "status", "words"),
    [
        (CLEAN_PIP, CLEAN_NPM, 0, ["requirements.lock: no known", "package-lock.json: no known", "Audit: no locked"]),
        (BAD_PIP, CLEAN_NPM, 1, ["requirements.lock: vulnerable: a 1: PYSEC-1, fixed in 2", "known vulnerabilities"]),
        (CLEAN_PIP, BAD_NPM, 1, ["package-lock.json: vulnerable: b <2: high"]),
        (SKIPPED_PIP, CLEAN_NPM, 2, ["requirements.lock: not audited: the advisory service does not answer for 1"]),
        (CLEAN_PIP, REFUSED_NPM, 2, ["package-lock.json: not audited: the advisory service cannot be reached: 405"]),
        ({"error": "no route"}, {"error": "no route"}, 2, ["cannot be reached: no route", "this is no pass"]),
        (BAD_PIP, REFUSED_NPM, 2, ["PYSEC-1", "not audited"]),
        ("not JSON", CLEAN_NPM, 2, ["requirements.lock: not audited: JSONDecodeError"]),
    ],
)
def test_the_status_and_the_words(
    project: Path, capsys: pytest.CaptureFixture[str], pip: object, npm: object, status: int, words: list[str]
) -> None:
    commands = []

    def run(command: Sequence[str], folder: Path) -> str:
        commands.append(command[0])
        answer = npm if command[0] == "npm" else pip
        return answer if isinstance(answer, str) else json.dumps(answer)

    assert main("pip-audit", project, run) == status
    assert commands == ["pip-audit", "npm"]
    told = capsys.readouterr().out
    assert all(word in told for word in words), told


def test_a_missing_program_is_no_pass(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(command: Sequence[str], folder: Path) -> str:
        raise FileNotFoundError(command[0])

    assert main("pip-audit", project, run) == 2
    assert "not audited: FileNotFoundError" in capsys.readouterr().out


def test_every_lock_file_of_python_and_node_is_found() -> None:
    found = {str(path.relative_to(ROOT)) for path in locks(ROOT)}
    assert found >= {"requirements.lock", "tests/requirements.lock", "tests/browser/package-lock.json"}
    assert all(json.loads(Path(ROOT, name).read_text()) for name in found if name.endswith(".json"))
