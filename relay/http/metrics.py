"""`/metrics`: one worker's metrics in Prometheus text, or those of all behind the port, told apart by a label."""

import asyncio
from collections.abc import Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from relay.config import Settings
from relay.http.local_workers import NoReply, WorkerReply, ask_all
from relay.http.ports import may_see_metrics
from relay.http.request import read_choice, worker_of
from relay.http.responses import COMMON_HEADERS
from relay.model.errors import Refused
from relay.rooms.worker import Worker


class MetricsEndpoint:
    """Serves on the admin port alone where there is one; `?scope=worker` leaves the siblings out."""

    def __init__(self, settings: Settings, local_workers: Sequence[str]) -> None:
        self._settings = settings
        self._local_workers = local_workers

    async def get(self, request: Request) -> Response:
        """Answer in Prometheus text."""
        if not may_see_metrics(request.scope, self._settings):
            raise Refused("not_found", "metrics are on the admin port")
        scope = read_choice(request, "scope", "all", "worker")
        if scope == "worker" or not self._local_workers:
            families: Iterable[Metric] = _own_families(worker_of(request.scope))
        else:
            families = labelled(await ask_all(self._local_workers, "/metrics?scope=worker"))
        return Response(generate_latest(_Families(families)), 200, COMMON_HEADERS, CONTENT_TYPE_LATEST)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _own_families(worker: Worker) -> Iterable[Metric]:
    """Collect the worker's metrics, less when each series began, which the text format has no place for."""
    health = worker.health()
    worker.metrics.ready.set(health.ready)
    worker.metrics.tasks.set(len(asyncio.all_tasks()))
    for family in worker.metrics.registry.collect():
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        yield family


def labelled(answers: Sequence[WorkerReply | NoReply]) -> list[Metric]:
    """Merge the siblings' metrics: a sample has `worker="0"` from the first, `worker="1"` from the second, and so on.

    `relay_worker_up` says which of them are in it.
    """
    up = GaugeMetricFamily("relay_worker_up", "Whether this worker told its metrics (1) or not (0).", labels=["worker"])
    merged: dict[str, Metric] = {}
    for index, answer in enumerate(answers):
        families = _parse(answer)
        up.add_metric([str(index)], bool(families))
        for family in families:
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [
                sample._replace(labels={**sample.labels, "worker": str(index)}) for sample in family.samples
            ]
    return [up, *merged.values()]


def _parse(answer: WorkerReply | NoReply) -> list[Metric]:
    if isinstance(answer, NoReply) or answer.status != 200:
        return []
    try:
        return list(text_string_to_metric_families(answer.body.decode()))
    except ValueError:
        return []
