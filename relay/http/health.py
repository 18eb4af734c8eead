"""`/health` (readiness: whether clients may be sent here) and `/health/live` (liveness: the process answers).

Everybody may ask. Only operators get the details, which have names of workers and the words of Redis; the others get
the names of the checks that failed.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from relay import __version__
from relay.config import Settings
from relay.http.access import OperatorAccess
from relay.http.local_workers import NoReply, WorkerReply, ask_all
from relay.http.request import read_choice, worker_of
from relay.http.responses import ApiResponse
from relay.rooms.health import Health

_FRESH: Final = 0.1
"""Seconds for which the answers of the local workers are used again: asking them is work for all of them."""


class HealthEndpoint:
    """The health of all local workers, or with `?scope=worker` of the one that got the request."""

    def __init__(self, settings: Settings, local_workers: Sequence[str]) -> None:
        self._access = OperatorAccess(settings)
        self._local_workers = local_workers
        self._asking: asyncio.Task[dict[str, Any]] | None = None
        self._asked_at = 0.0

    async def get(self, request: Request) -> Response:
        """Answer 200 if all of them are ready, else 503; operators get every check in the body."""
        scope = read_choice(request, "scope", "all", "worker")
        if scope == "worker" or not self._local_workers:
            report = _of_worker(worker_of(request.scope).health())
        else:
            report = await self._ask_all()
        body = report if self._access.shows_details(request) else _public(report)
        return ApiResponse(body, 200 if report["ready"] else 503)

    async def _ask_all(self) -> dict[str, Any]:
        """Ask all local workers, or return the answer that another request got just now."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > _FRESH):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        # Shielded: a client that drops its request must not end the one that others wait for.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> dict[str, Any]:
        replies = await ask_all(self._local_workers, "/health?scope=worker")
        return _of_all([_of_local_worker(one) for one in replies])


async def live(request: Request) -> Response:
    """Answer 200 always; a container engine restarts a process that does not answer."""
    return ApiResponse({"status": "alive"})


def _public(report: dict[str, Any]) -> dict[str, Any]:
    """Return the public part of a report: whether the port is ready, and the names of the failed checks."""
    checks = [one["checks"] for one in report.get("workers", [report])]
    failed = {name for each in checks for name, check in each.items() if not check["ok"]}
    return {**_readiness(report["ready"]), "reasons": sorted(failed)}


def _of_worker(health: Health) -> dict[str, Any]:
    return {
        **_readiness(health.ready),
        "worker": health.worker,
        "version": health.version,
        "build": health.build,
        "uptime_seconds": round(health.uptime, 3),
        "rooms": health.rooms,
        "connections": health.connections,
        "draining": health.draining,
        "checks": {
            name: {
                "ok": check.ok,
                "text": check.text,
                "seconds": None if check.seconds is None else round(check.seconds, 3),
            }
            for name, check in health.checks.items()
        },
    }


def _of_all(workers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        **_readiness(all(worker["ready"] for worker in workers)),
        "version": __version__,
        "connections": sum(worker.get("connections", 0) for worker in workers),
        "draining": any(worker.get("draining", False) for worker in workers),
        "workers": workers,
    }


def _of_local_worker(reply: WorkerReply | NoReply) -> dict[str, Any]:
    """Return a local worker's own report, or one with the check `answer`, which says why there is none."""
    if isinstance(reply, WorkerReply):
        try:
            report = json.loads(reply.body)
        except ValueError:
            report = None
        if reply.status in {200, 503} and isinstance(report, dict) and isinstance(report.get("ready"), bool):
            return report
        reply = NoReply(f"answers {reply.status}, and the body is not a health report")
    return {**_readiness(ready=False), "checks": {"answer": {"ok": False, "text": reply.text, "seconds": None}}}


def _readiness(ready: bool) -> dict[str, Any]:
    return {"status": "ready" if ready else "not_ready", "ready": ready}
