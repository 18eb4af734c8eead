import pytest

from tests.bench import parts


async def test_the_stage_has_everything_that_a_message_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "ROUNDS", 10)
    await parts.python_parts()  # checks that every member received every message
    titles = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("Python")]
    assert titles == [
        f"Python, 50 rooms of 2, {senders}" for senders in ("each sends one", "one sends one", "one sends ten")
    ]
