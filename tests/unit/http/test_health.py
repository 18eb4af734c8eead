"""Readiness of one worker and of several behind one port; liveness."""

import json
from pathlib import Path

import pytest
from jsonschema_rs import Draft202012Validator

from relay.http.openapi import document
from tests.unit.http.conftest import DEAF, READY, FakeWorker, MakeSite, ServeRaw, error_of, response


def described_as(schema: str, body: object) -> bool:
    """Whether the document's schema of this name allows the body."""
    root = {"$ref": f"#/components/schemas/{schema}", "components": document({})["components"]}
    return Draft202012Validator(root).is_valid(body)


async def test_ready(site: MakeSite) -> None:
    answer = await site().get("/health")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert described_as("WorkerHealth", answer.json())
    assert answer.json() == {
        "status": "ready",
        "ready": True,
        "worker": "w1",
        "version": "1.2.3",
        "build": "compiled",
        "uptime_seconds": 12.346,
        "rooms": 2,
        "connections": 3,
        "draining": False,
        "checks": {
            "redis": {"ok": True, "text": "answers", "seconds": None},
            "subscription": {"ok": True, "text": "heard", "seconds": 0.123},
        },
    }


async def test_not_ready(site: MakeSite) -> None:
    answer = await site(worker=FakeWorker(DEAF)).get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not_ready"
    assert answer.json()["checks"]["subscription"] == {"ok": False, "text": "not heard for 9 s", "seconds": 9}


async def test_alive_though_not_ready(site: MakeSite) -> None:
    answer = await site(worker=FakeWorker(DEAF)).get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("query", ["scope=", "scope=fleet", "scope=worker&scope=worker"])
async def test_bad_scope(site: MakeSite, query: str) -> None:
    assert error_of(await site().get(f"/health?{query}")) == (400, "bad_query")


async def report(site: MakeSite, worker: FakeWorker) -> bytes:
    """A worker's own report as its socket serves it."""
    answer = await site(worker=worker).get("/health?scope=worker")
    return response(answer.content, f"{answer.status_code} x")


async def test_all_ready(site: MakeSite, serve_raw: ServeRaw) -> None:
    own = await report(site, FakeWorker(READY))
    async with serve_raw(own, name="0") as first, serve_raw(own, name="1") as second:
        answer = await site(local_workers=[first, second]).get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ready"
    assert body["connections"] == 6
    assert described_as("PortHealth", body)
    assert [worker["worker"] for worker in body["workers"]] == ["w1", "w1"]


async def test_one_deaf_and_one_dead(site: MakeSite, serve_raw: ServeRaw, tmp_path: Path) -> None:
    async with (
        serve_raw(await report(site, FakeWorker(READY)), name="0") as ready,
        serve_raw(await report(site, FakeWorker(DEAF)), name="1") as deaf,
    ):
        answer = await site(local_workers=[ready, deaf, str(tmp_path / "dead")]).get("/health")
    assert answer.status_code == 503
    body = answer.json()
    assert (body["status"], body["ready"], body["draining"], body["connections"]) == ("not_ready", False, True, 4)
    assert [worker["ready"] for worker in body["workers"]] == [True, False, False]
    assert body["workers"][2]["checks"]["answer"]["ok"] is False
    assert described_as("PortHealth", body)


async def test_a_single_worker_asks_no_others(site: MakeSite, tmp_path: Path) -> None:
    answer = await site(local_workers=[str(tmp_path / "dead")]).get("/health?scope=worker")
    assert (answer.status_code, answer.json()["worker"]) == (200, "w1")


@pytest.mark.parametrize(
    "answer",
    [
        response(b"not json"),
        response(b"[]"),
        response(b"\xff"),
        response(json.dumps({"ready": "yes"}).encode()),
        response(json.dumps({"ready": True}).encode(), "500 x"),
    ],
)
async def test_a_local_worker_with_a_wrong_body_is_not_ready(
    site: MakeSite, serve_raw: ServeRaw, answer: bytes
) -> None:
    async with serve_raw(answer) as socket:
        told = await site(local_workers=[socket]).get("/health")
    assert told.status_code == 503
    assert "not a health report" in told.json()["workers"][0]["checks"]["answer"]["text"]
