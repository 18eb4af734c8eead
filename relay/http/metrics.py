"""`/metrics`: metrics in Prometheus text, of one worker, or of all local workers with the label `worker`."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from relay.config import Settings
from relay.http.access import OperatorAccess
from relay.http.local_workers import NoReply, WorkerReply, ask_all
from relay.http.request import has_admin_token, read_choice, worker_of
from relay.http.responses import COMMON_HEADERS
from relay.metrics import Declaration
from relay.model.errors import Refused
from relay.rooms.worker import Worker

WORKER_UP: Final = Declaration(
    "relay_worker_up",
    "gauge",
    "Whether the metrics of this local worker could be read (1) or not (0); only with several workers behind one port.",
    "If it stays 0, the log of the supervisor says what happened to the worker.",
    ("worker",),
)


_NOT_PUBLIC: Final = (
    "metrics are served to programs on the relay's machine, to requests with the admin token, and on the admin port "
    "(setting admin-listen); the setting public-metrics opens them to everybody"
)


class MetricsEndpoint:
    """The metrics of all local workers, or with `?scope=worker` of the one that got the request.

    With the setting `public-metrics`, everybody may read them. If not, where there is an admin port, they are served
    there alone; else to programs on this machine, and to requests with the admin token.
    """

    def __init__(self, settings: Settings, local_workers: Sequence[str]) -> None:
        self._public = settings.public_metrics == "on"
        self._has_admin_port = settings.admin_address is not None
        self._access = OperatorAccess(settings)
        self._local_workers = local_workers

    async def get(self, request: Request) -> Response:
        """Answer with Prometheus text."""
        self._check_access(request)
        scope = read_choice(request, "scope", "all", "worker")
        if scope == "worker" or not self._local_workers:
            families: Iterable[Metric] = _own_families(worker_of(request.scope))
        else:
            families = labelled(await ask_all(self._local_workers, "/metrics?scope=worker"))
        return Response(generate_latest(_Families(families)), 200, COMMON_HEADERS, CONTENT_TYPE_LATEST)

    def _check_access(self, request: Request) -> None:
        """Raise `Refused` for a request that may not read metrics, with the settings that would allow it."""
        if self._public or self._access.is_internal(request.scope):
            return
        if self._has_admin_port:
            raise Refused("not_found", "metrics are served on the admin port")
        if not self._access.is_local(request.scope) and not has_admin_token(request):
            raise Refused("forbidden", _NOT_PUBLIC)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _own_families(worker: Worker) -> Iterable[Metric]:
    """Collect the worker's metrics without the `_created` samples, which the text format does not define."""
    health = worker.health()
    worker.metrics.ready.set(health.ready)
    worker.metrics.tasks.set(len(asyncio.all_tasks()))
    for family in worker.metrics.registry.collect():
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        yield family


def labelled(replies: Sequence[WorkerReply | NoReply]) -> list[Metric]:
    """Merge the metrics of the local workers; the first one's samples have the label `worker="0"`, and so on.

    `relay_worker_up` says which workers are included.
    """
    up = GaugeMetricFamily(WORKER_UP.name, WORKER_UP.help, labels=WORKER_UP.labels)
    merged: dict[str, Metric] = {}
    for index, reply in enumerate(replies):
        families = _parse(reply)
        up.add_metric([str(index)], bool(families))
        for family in families:
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [
                sample._replace(labels={**sample.labels, "worker": str(index)}) for sample in family.samples
            ]
    return [up, *merged.values()]


def _parse(reply: WorkerReply | NoReply) -> list[Metric]:
    if isinstance(reply, NoReply) or reply.status != 200:
        return []
    try:
        return list(text_string_to_metric_families(reply.body.decode()))
    except ValueError:
        return []
