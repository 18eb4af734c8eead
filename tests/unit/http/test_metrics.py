"""Metrics of one worker, and of several behind one port."""

from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from relay.http.local_workers import NoReply, WorkerReply
from relay.http.metrics import labelled
from tests.unit.http.conftest import DEAF, FakeWorker, MakeSite, ServeRaw, error_of, response


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


async def test_one_worker(site: MakeSite) -> None:
    worker = FakeWorker()
    worker.metrics.of("native").messages_in += 3
    answer = await site(worker=worker).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert (
        '# TYPE relay_received_messages_total counter\nrelay_received_messages_total{protocol="native"} 3.0\n'
        in answer.text
    )
    assert "relay_ready 1.0\n" in answer.text
    assert "_created" not in answer.text


async def test_series_of_alerts_exist_before_the_first_event(site: MakeSite) -> None:
    text = (await site().get("/metrics")).text
    for line in (
        'relay_errors_total{code="unavailable",protocol="api"} 0.0',
        'relay_closed_connections_total{reason="internal"} 0.0',
        'relay_message_losses_total{reason="trimmed"} 0.0',
    ):
        assert f"{line}\n" in text
    assert "process_resident_memory_bytes " in text


async def test_ready_is_computed_for_each_request(site: MakeSite) -> None:
    worker = FakeWorker()
    worker.metrics.ready.set(1)
    worker.state = DEAF
    assert "relay_ready 0.0\n" in (await site(worker=worker).get("/metrics")).text


async def test_bad_scope(site: MakeSite) -> None:
    assert error_of(await site().get("/metrics?scope=x")) == (400, "bad_query")


async def test_several_workers(site: MakeSite, serve_raw: ServeRaw, tmp_path: Path) -> None:
    texts = []
    for count in (3, 4):
        worker = FakeWorker()
        worker.metrics.of("native").messages_in += count
        worker.metrics.errors.labels("native", "bad_json").inc(count)
        worker.metrics.publish_seconds.observe(count)
        texts.append((await site(worker=worker).get("/metrics?scope=worker")).content)
    async with serve_raw(response(texts[0]), name="0") as first, serve_raw(response(texts[1]), name="2") as third:
        answer = await site(local_workers=[first, str(tmp_path / "dead"), third]).get("/metrics")
    assert answer.status_code == 200
    for line in (
        'relay_received_messages_total{protocol="native",worker="0"} 3.0',
        'relay_received_messages_total{protocol="native",worker="2"} 4.0',
        'relay_errors_total{code="bad_json",protocol="native",worker="2"} 4.0',
        'relay_publish_duration_seconds_bucket{le="5.0",worker="0"} 1.0',
        'relay_publish_duration_seconds_sum{worker="2"} 4.0',
        'relay_worker_up{worker="0"} 1.0',
        'relay_worker_up{worker="1"} 0.0',
    ):
        assert f"{line}\n" in answer.text
    assert answer.text.count("# TYPE relay_received_messages_total counter\n") == 1


async def test_merging_changes_nothing_but_the_label(site: MakeSite) -> None:
    text = (await site().get("/metrics")).text
    merged = {family.name: family for family in labelled([WorkerReply(200, text.encode())])}
    assert set(merged) == {*families(text), "relay_worker_up"}
    for name, family in families(text).items():
        assert (merged[name].type, merged[name].documentation) == (family.type, family.documentation)
        assert [(s.name, s.labels | {"worker": "0"}) for s in family.samples] == [
            (s.name, s.labels) for s in merged[name].samples
        ]


@pytest.mark.parametrize(
    "answer",
    [NoReply("no answer"), WorkerReply(404, b"x 1\n"), WorkerReply(200, b"\xff"), WorkerReply(200, b"not { metrics\n")],
)
def test_a_local_worker_without_metrics_is_down(answer: WorkerReply | NoReply) -> None:
    [up] = labelled([answer])
    assert [(sample.labels, sample.value) for sample in up.samples] == [({"worker": "0"}, 0)]
