"""`/health` (readiness: whether clients may be sent here) and `/health/live` (liveness: the process answers)."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from relay import __version__
from relay.http.local_workers import NoReply, WorkerReply, ask_all
from relay.http.request import read_choice, worker_of
from relay.http.responses import ApiResponse
from relay.rooms.health import Health


class HealthEndpoint:
    """The health of all local workers, or with `?scope=worker` of the one that got the request."""

    def __init__(self, local_workers: Sequence[str]) -> None:
        self._local_workers = local_workers

    async def get(self, request: Request) -> Response:
        """Answer 200 if all of them are ready, else 503; the body has every check."""
        scope = read_choice(request, "scope", "all", "worker")
        if scope == "worker" or not self._local_workers:
            report = _of_worker(worker_of(request.scope).health())
        else:
            report = _of_all(
                [_of_local_worker(one) for one in await ask_all(self._local_workers, "/health?scope=worker")]
            )
        return ApiResponse(report, 200 if report["ready"] else 503)


async def live(request: Request) -> Response:
    """Answer 200 always; a container engine restarts a process that does not answer."""
    return ApiResponse({"status": "alive"})


def _of_worker(health: Health) -> dict[str, Any]:
    return {
        **_readiness(health.ready),
        "worker": health.worker,
        "version": health.version,
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
