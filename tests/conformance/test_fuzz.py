"""relay.js under arbitrary input, which fast-check makes in Node.

`SEED=… RUNS=… node --test tests/conformance/fuzz_client.test.mjs` repeats a run.
"""

import subprocess
from pathlib import Path

from tests.fleet import require

HERE = Path(__file__).parent


def test_relay_js_bears_any_input() -> None:
    command = [require("node"), "--test", str(HERE / "fuzz_client.test.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
