"""Prometheus of the compose file: it finds its targets, loads the alerts, and one of them fires."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.deploy.compose import ROOT, WORKERS, Compose, require_image, wait_for
from tests.unit.test_deployment import expressions

pytestmark = pytest.mark.timeout(240, func_only=True)

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

# Requests several paths of Prometheus, from a network that it is on.
ASK = """
import json, sys, urllib.request as r, urllib.parse as p, urllib.error as e
for path in json.loads({paths!r}):
    try: answer = r.urlopen('http://prometheus:9090' + path, timeout=5)
    except e.HTTPError as error: answer = error
    sys.stdout.write(answer.read().decode().strip() + chr(10))
"""


def query(text: str) -> str:
    return f"/api/v1/query?query={quote(text)}"


class Prometheus:
    """The Prometheus of the compose file."""

    def __init__(self, compose: Compose) -> None:
        self._compose = compose

    def ask(self, *paths: str) -> list[dict[str, Any]]:
        """Its answer."""
        told = self._compose.from_network("watch", ASK.format(paths=json.dumps(paths)))
        return [json.loads(line) for line in told.splitlines()]

    def value(self, text: str) -> list[dict[str, Any]]:
        """The series that a query finds."""
        (answer,) = self.ask(query(text))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


@pytest.fixture(scope="module")
def prometheus(compose: Compose) -> Iterator[Prometheus]:
    require_image(SERVICES["prometheus"]["image"])
    compose("up", "--detach", "--no-deps", "prometheus")
    started = Prometheus(compose)
    wait_for(lambda: len(started.value("relay_ready == 1")) == WORKERS)
    yield started
    compose("rm", "--stop", "--force", "prometheus")


def promtool(compose: Compose, folder: Path, *arguments: str) -> str:
    image = require_image(SERVICES["prometheus"]["image"])
    return compose.docker(
        "run", "--rm", "--volume", f"{folder}:/work:ro", "--workdir", "/work", "--entrypoint", "promtool",
        image, *arguments,
    )  # fmt: skip


def test_the_alerts_pass_their_own_tests(compose: Compose) -> None:
    folder = ROOT / "deploy" / "prometheus"
    assert "SUCCESS" in promtool(compose, folder, "check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool(compose, folder, "test", "rules", "alerts_test.yml")


def test_it_finds_every_worker_and_the_load_balancer(prometheus: Prometheus) -> None:
    def targets() -> list[tuple[str, str]]:
        (answer,) = prometheus.ask("/api/v1/targets?state=active")
        return sorted((one["labels"]["job"], one["health"]) for one in answer["data"]["activeTargets"])

    # Each is asked when its turn comes, within the first five seconds.
    wait_for(lambda: targets() == [("balancer", "up"), *[("relay", "up")] * WORKERS], 20)


def test_all_alerts_are_loaded_without_errors(prometheus: Prometheus) -> None:
    (rules,) = prometheus.ask("/api/v1/rules")
    (group,) = rules["data"]["groups"]
    assert [rule["health"] for rule in group["rules"]] == ["ok"] * len(group["rules"])
    assert len(group["rules"]) == sum(name.startswith("Relay") for name, _ in expressions())


def test_every_query_of_the_dashboard_is_valid(prometheus: Prometheus) -> None:
    wanted = [(where, text.replace("$__rate_interval", "1m")) for where, text in expressions()]

    def silent() -> set[str]:
        answers = prometheus.ask(*[query(text) for _, text in wanted])
        assert {answer["status"] for answer in answers} == {"success"}
        told = zip(wanted, answers, strict=True)
        empty = {one for one, answer in told if not answer["data"]["result"]}
        # An alert has no series until it fires, and a query with a condition none until something happens.
        return {where for where, text in empty if not where.startswith("Relay") and not text.endswith("> 0")}

    # A rate shows after it was asked for twice.
    wait_for(lambda: not silent(), 60, lambda: f"without data: {silent()}")


def test_an_alert_fires_and_ends(prometheus: Prometheus, compose: Compose) -> None:
    firing = 'ALERTS{alertname="RelayNobodyReady",alertstate="firing"}'
    assert not prometheus.value(firing)
    compose("stop", "redis")
    took = wait_for(lambda: prometheus.value(firing), 60)
    print(f"\nRelayNobodyReady goes off {took:.0f} s after Redis has stopped")
    compose("start", "redis")
    wait_for(lambda: not prometheus.value(firing), 60)
    wait_for(compose.ready)


def test_grafana_shows_the_dashboard(prometheus: Prometheus, compose: Compose) -> None:
    require_image(SERVICES["grafana"]["image"])
    compose("--profile", "monitoring", "up", "--detach", "--scale", f"worker={WORKERS}")
    url = f"http://127.0.0.1:{compose.environ['RELAY_GRAFANA_PORT']}"
    mount = f"{compose.project}_secrets:/run/relay:ro"
    password = compose.docker("run", "--rm", "--volume", mount, "redis:8-alpine", "cat", "/run/relay/grafana_password")
    found = ["curl", "--silent", "--fail", "--user", f"admin:{password}", f"{url}/api/dashboards/uid/relay"]
    wait_for(lambda: "Connections by worker" in compose.run("sh", "-c", " ".join(found) + " || true"))
    compose("rm", "--stop", "--force", "grafana")
