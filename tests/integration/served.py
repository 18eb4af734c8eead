"""`relay serve` as users start it, in processes of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx

_START = 60.0
_STOP = 20.0
_TICK = 0.03


@contextmanager
def served(*options: str, ready: bool = True) -> Iterator[str]:
    """Run `relay serve` on a free port; gives its URL once it is ready (or, without `ready`, once it is alive)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    command = [sys.executable, "-m", "relay", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = next(found[1] for line in process.stdout if (found := re.search(r"(https?://\S+)/health", line)))
            _wait(f"{url}/health" if ready else f"{url}/health/live")
            yield url
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0


def _wait(url: str) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"{url} did not answer 200 in time"
        time.sleep(_TICK)
