"""Several workers behind one port: the supervisor replaces workers that ended, do not answer, or are unhealthy."""

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from relay.config import Settings
from relay.process.supervisor import Supervisor, SupervisorTimeouts
from relay.process.workers import open_sockets

TIMEOUT = 15.0

# A fake worker: it reports the health that the test gives it, and records its events.
ACTOR = """
import json, os, signal, socket, sys, time
role, diary = sys.argv[1], sys.argv[2]
def note(event):
    with open(diary, "a") as file:
        file.write(f"{event} {os.getpid()}\\n")
def goodbye(*_):
    note("asked to stop")
    if role == "leisurely":
        time.sleep(0.5)
        note("left in its own time")
    sys.exit(0)
note("started")
brief = json.loads(sys.stdin.buffer.readline())
if role == "dies":
    sys.exit(3)
if role == "stubborn":
    signal.signal(signal.SIGTERM, lambda *_: note("ignored"))
else:
    signal.signal(signal.SIGTERM, goodbye)
note("ready")
server = socket.socket(socket.AF_UNIX)
path = brief["local_workers"][brief["index"]]
if os.path.exists(path):
    os.unlink(path)
server.bind(path)
server.listen()
while True:
    client, _ = server.accept()
    note("questioned")
    if role == "silent":
        continue
    body = role if role.startswith("{") else "{}"
    try:
        client.recv(4096)
        client.sendall(b"HTTP/1.1 503 No\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(body), body.encode()))
    except OSError:
        pass  # a supervisor that stops does not wait for the answer
    client.close()
"""

TOLERANT = SupervisorTimeouts(poll_interval=0.02, start=30, reply=30, unhealthy=0.2)
QUICK = SupervisorTimeouts(
    poll_interval=0.02, start=0.5, reply=0.2, unhealthy=0.2, max_restart_delay=0.3, failed_start=60
)


def health(**checks: bool) -> str:
    return json.dumps(
        {"ready": all(checks.values()), "checks": {name: {"ok": ok, "text": "?"} for name, ok in checks.items()}}
    )


@dataclass
class Stage:
    """A supervisor of fake workers, and their record."""

    supervisor: Supervisor
    task: asyncio.Task[None]
    diary: Path

    def count(self, event: str) -> int:
        return self.diary.read_text().count(event) if self.diary.exists() else 0

    async def until(self, event: str, times: int) -> None:
        async with asyncio.timeout(TIMEOUT):
            while self.count(event) < times:
                assert not self.task.done()
                await asyncio.sleep(0.02)


@asynccontextmanager
async def staged(
    role: str,
    diary: Path,
    *,
    workers: int = 1,
    drain_delay: float = 0.0,
    drain_timeout: float = 0.1,
    timeouts: SupervisorTimeouts = QUICK,
) -> AsyncIterator[Stage]:
    settings = Settings(
        port=0,
        workers=workers,
        redis_url="redis://nowhere.invalid",
        drain_delay=drain_delay,
        drain_timeout=drain_timeout,
    )
    supervisor = Supervisor(
        settings, open_sockets(settings), timeouts, command=(sys.executable, "-c", ACTOR, role, str(diary))
    )
    task = asyncio.create_task(supervisor.run())
    try:
        yield Stage(supervisor, task, diary)
    finally:
        if not task.done():
            supervisor.stop()
        async with asyncio.timeout(TIMEOUT):
            await task


async def test_a_worker_without_its_subscription_is_stopped_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged(health(redis=True, subscription=False, draining=True), tmp_path / "diary") as stage:
        await stage.until("asked to stop", 1)
        await stage.until("started", 2)
    assert "is not healthy although Redis answers (subscription: ?); it is stopped" in caplog.text


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(health(redis=False, subscription=False, draining=True), id="Redis is away"),
        pytest.param(health(redis=True, subscription=False, draining=False), id="draining"),
        pytest.param(health(redis=True, subscription=True, draining=True), id="well"),
    ],
)
async def test_a_worker_that_a_restart_would_not_repair_is_kept(tmp_path: Path, report: str) -> None:
    async with staged(report, tmp_path / "diary", timeouts=TOLERANT) as stage:
        await stage.until("questioned", 40)  # longer than the supervisor waits for a healthy worker
        assert stage.count("started") == 1
        assert stage.count("asked to stop") == 0


async def test_a_worker_with_an_unreadable_health_is_replaced(tmp_path: Path) -> None:
    async with staged("[]", tmp_path / "diary") as stage:
        await stage.until("started", 2)


async def test_a_worker_that_does_not_answer_is_killed_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged("silent", tmp_path / "diary") as stage:
        await stage.until("started", 2)
        assert stage.count("asked to stop") == 0
    assert "does not answer" in caplog.text
    assert "was ended by SIGKILL" in caplog.text


async def test_a_worker_that_ends_at_once_is_restarted_with_growing_delays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged("dies", tmp_path / "diary") as stage:
        await stage.until("started", 4)
    pauses = re.findall(r"has ended with status 3; a new one starts (now|in [\d.]+ s)", caplog.text)
    assert pauses[:3] == ["now", "in 0.3 s", "in 0.3 s"]


async def test_a_worker_that_cannot_be_started_is_tried_again_and_the_others_live_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(health(redis=True), tmp_path / "diary", workers=2, timeouts=TOLERANT) as stage:
        await stage.until("ready", 2)
        start, failures = stage.supervisor._start, [BlockingIOError(11, "no more processes")] * 2

        async def failing(index: int) -> Any:
            if failures:
                raise failures.pop()
            return await start(index)

        monkeypatch.setattr(stage.supervisor, "_start", failing)
        [pid] = re.findall(r"worker 1 is process (\d+)", caplog.text)
        os.kill(int(pid), signal.SIGKILL)
        await stage.until("ready", 3)
    assert caplog.text.count("worker 1 cannot be started ([Errno 11] no more processes); next attempt in") == 2


async def test_all_workers_are_stopped_and_waited_for(tmp_path: Path) -> None:
    async with staged(health(redis=True), tmp_path / "diary", workers=3, timeouts=TOLERANT) as stage:
        await stage.until("ready", 3)
        stage.supervisor.stop()
        await stage.task
        assert stage.count("asked to stop") == 3


async def test_stopping_twice_kills(tmp_path: Path) -> None:
    async with staged("stubborn", tmp_path / "diary", drain_timeout=60, timeouts=TOLERANT) as stage:
        await stage.until("ready", 1)
        stage.supervisor.stop()
        await stage.until("ignored", 1)
        stage.supervisor.stop()
        async with asyncio.timeout(5):
            await stage.task


async def test_a_drain_has_the_time_of_its_delay_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.process.supervisor._CLOSING", 0.0)
    async with staged("leisurely", tmp_path / "diary", drain_delay=10, timeouts=TOLERANT) as stage:
        await stage.until("ready", 1)
        stage.supervisor.stop()
        await stage.task
        assert stage.count("left in its own time") == 1


# The command itself, with real workers.


@dataclass
class Fleet:
    """A running `relay serve --workers 2`, and its address."""

    process: subprocess.Popen[str]
    url: str
    temporary: Path

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path).json()

    @property
    def workers(self) -> list[int]:
        """Process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not _quietly(condition):
            assert time.monotonic() < deadline
            time.sleep(0.03)


def _quietly(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (httpx.TransportError, KeyError):
        return False


@contextmanager
def fleet(redis_url: str, temporary: Path, *options: str) -> Iterator[Fleet]:
    command = [sys.executable, "-m", "relay", "serve", "--port", "0", "--workers", "2", "--redis-url", redis_url]
    command += [
        "--redis-prefix",
        f"relay:t{secrets.token_hex(4)}",
        "--probe-timeout",
        "0.3",
        "--worker-lease",
        "1",
        *options,
    ]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RELAY_")}
    environment["TMPDIR"] = str(temporary)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            url = next(found[1] for line in process.stdout if (found := re.search(r"(https?://\S+)/health", line)))
            one = Fleet(process, url, temporary)
            one.until(lambda: one.get("/health")["ready"])
            yield one
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            finally:
                process.kill()


def gone(pids: Sequence[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_killed_worker_is_replaced(redis_url: str, tmp_path: Path) -> None:
    with fleet(redis_url, tmp_path) as one:
        first, second = one.workers
        os.kill(first, signal.SIGKILL)
        one.until(lambda: len(one.workers) == 2 and first not in one.workers)
        one.until(lambda: one.get("/health")["ready"])
        assert second in one.workers
        assert len(one.get("/health")["workers"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_closes_all_clients_and_ends_with_0(redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    with fleet(redis_url, tmp_path) as one, ExitStack() as stack:
        address = one.url.replace("http", "ws", 1) + "/rooms/a"
        clients = [stack.enter_context(connect(address)) for _ in range(6)]
        workers = one.workers
        for client in clients:
            assert json.loads(client.recv(5))["type"] == "welcome"
        os.killpg(one.process.pid, number)  # as a terminal does
        for client in clients:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert one.process.wait(TIMEOUT) == 0
        assert gone(workers)
        assert not list(tmp_path.iterdir())


def test_workers_do_not_outlive_a_supervisor_that_is_killed(redis_url: str, tmp_path: Path) -> None:
    with fleet(redis_url, tmp_path) as one:
        workers = one.workers
        with connect(one.url.replace("http", "ws", 1)) as client:
            assert json.loads(client.recv(5))["type"] == "welcome"
            one.process.kill()
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        one.until(lambda: gone(workers))
        assert not list(tmp_path.iterdir())


def test_sockets_are_readable_by_this_user_only(redis_url: str, tmp_path: Path) -> None:
    with fleet(redis_url, tmp_path):
        (directory,) = tmp_path.iterdir()
        assert directory.stat().st_mode & 0o777 == 0o700


def test_metrics_speak_for_all_workers(redis_url: str, tmp_path: Path) -> None:
    with fleet(redis_url, tmp_path) as one:
        ready = re.findall(r'relay_ready\{worker="(\d)"\} 1\.0', httpx.get(one.url + "/metrics").text)
        assert ready == ["0", "1"]


def test_rooms_command_lists_the_rooms_of_all_workers(redis_url: str, tmp_path: Path) -> None:
    prefix = f"relay:t{secrets.token_hex(4)}"
    command = [sys.executable, "-m", "relay", "rooms", "--redis-url", redis_url, "--redis-prefix", prefix]
    with fleet(redis_url, tmp_path, "--redis-prefix", prefix) as one:
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == ""
        address = one.url.replace("http", "ws", 1)
        with (
            connect(f"{address}/rooms/a"),
            connect(f"{address}/rooms/a"),
            connect(f"{address}/rooms/long-name") as last,
        ):
            assert json.loads(last.recv(5))["type"] == "welcome"
            one.until(lambda: one.get("/rooms/a")["count"] == 2)
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            listed = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    assert text.splitlines() == ["room       members", "a          2", "long-name  1"]
    assert json.loads(listed) == [{"room": "a", "members": 2}, {"room": "long-name", "members": 1}]
