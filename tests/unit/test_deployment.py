"""The files in deploy/ agree with the code: metrics, settings, times, and the sections that alerts link to."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network, summarize_address_range
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from relay import __version__
from relay.cli.options import every_setting
from relay.config import Settings, load
from relay.config.redis_url import parse_redis_url
from relay.gateways import GATEWAYS, error_codes
from relay.gateways.base.gateway import Gateway
from relay.http.local_workers import WorkerReply
from relay.http.metrics import labelled
from relay.metrics import Metrics
from relay.model.errors import ERRORS, STATUS_HEADERS
from relay.session_ids import LENGTH
from tests import redis_user

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (DEPLOY / "README.md").read_text()


def compose_file(turn_host: str = "") -> dict[str, Any]:
    """The compose file with the defaults of variables whose values a setting checks, and a TURN host."""
    text = re.sub(r"\$\{RELAY_\w+_SUBNET:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
    # As the engine does: the text behind the plus if the variable is not empty, else nothing.
    text, count = re.subn(
        r"\$\{RELAY_TURN_HOST:\+((?:[^{}]|\$\{RELAY_TURN_HOST-\})*)\}",
        lambda found: found[1].replace("${RELAY_TURN_HOST-}", turn_host) if turn_host else "",
        text,
    )
    assert count == 1
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


COMPOSE = compose_file()
HAPROXY = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
NGINX = (DEPLOY / "nginx" / "nginx.conf").read_text()
# The values that an operator puts into the ConfigMap of the pods.
NETWORKS = {"trusted_proxies": "10.244.3.7", "forward_networks": "10.244.0.0/16"}
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "relay.json").read_text())
MANIFESTS = {path.name: yaml.safe_load(path.read_text()) for path in (DEPLOY / "kubernetes").glob("*.yaml")}
RESOURCES = {name: one for name, one in MANIFESTS.items() if one.get("kind", "Kustomization") != "Kustomization"}
VERSIONS = ("1.28", "1.31", "1.34", "1.37")

VARIABLES = {setting.variable for setting in every_setting()} | {one.file_variable for one in every_setting()}


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def own_metrics() -> set[str]:
    """The names of all samples of a relay's `/metrics`."""
    return {
        name
        for family in [*Metrics(error_codes(Settings())).registry.collect(), *labelled([WorkerReply(200, b"")])]
        for name in {family.name, *(sample.name for sample in family.samples)}
    }


def expressions() -> Iterator[tuple[str, str]]:
    """Every query, with the name of its alert or panel."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def secret_in(path: str) -> str:
    """A secret of 32 characters, another one for each file."""
    return path.rjust(32, "x")


# Each file begins with its purpose.


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "Dockerfile",
        ROOT / "docker-compose.yml",
        *(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc"),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_file_begins_with_its_purpose(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#!")]
    if path.suffix == ".json":
        assert json.loads(path.read_text())["__comment"].endswith(".")
    else:
        assert re.match(r'(# |""")\w.{15,}', lines[0]) or path.suffix == ".md", lines[0]


# The load balancer keeps the requests of a session together as each gateway declares it.

STICKY = [gateway for gateway in GATEWAYS.values() if gateway.stickiness]


@pytest.mark.parametrize("gateway", STICKY, ids=lambda gateway: gateway.name)
def test_haproxy_finds_the_worker_of_a_session(gateway: Gateway) -> None:
    text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
    sticky = gateway.stickiness
    assert sticky is not None
    assert f"stick store-response res.hdr({sticky.response_header})" in text
    if sticky.query:
        (paths,) = re.findall(rf"stick match url_param\({sticky.query}\) if {{ path_beg ([^}}]*) }}", text)
        assert set(gateway.prefixes) <= set(paths.split())
    for path in sticky.paths:
        rule = rf"stick match path,field\({path.count('/') + 1},/\) if {{ path_beg ([^}}]*) }}"
        assert path in [found for paths in re.findall(rule, text) for found in paths.split()]


# Alerts and the dashboard.


@pytest.mark.parametrize(("where", "query"), list(expressions()))
def test_every_queried_metric_exists(where: str, query: str) -> None:
    asked = set(re.findall(r"\b((?:relay|process)_\w+)\b", query))
    assert asked <= own_metrics(), where
    assert asked or re.search(r"haproxy_|\bup\b", query), where


def test_every_queried_label_value_exists() -> None:
    series = "\n".join(
        f"{name}={value}"
        for family in Metrics(error_codes(Settings())).registry.collect()
        for sample in family.samples
        for name, value in sample.labels.items()
    )
    for where, query in expressions():
        for name, values in re.findall(r'\b(code|reason)=~?"([^"]+)"', query):
            if "haproxy" not in query:
                for value in values.split("|"):
                    assert f"{name}={value}" in series.splitlines(), where


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_a_severity_and_a_section(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert (page, anchor) == ("deploy/README.md", alert["alert"].lower())
    assert anchor in anchors(PAGE)


def test_every_section_of_an_alert_has_its_alert() -> None:
    sections = set(re.findall(r"^#+ (Relay\w+)$", PAGE, re.MULTILINE))
    assert sections == {alert["alert"] for alert in ALERTS}


def test_the_dashboard_is_complete() -> None:
    panels = DASHBOARD["panels"]
    assert DASHBOARD["uid"] == "relay"
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == source["uid"]
            assert all(target["datasource"]["uid"] == source["uid"] for target in panel["targets"])


# Settings.


def test_compose_sets_only_settings_of_today() -> None:
    environment = COMPOSE["services"]["worker"]["environment"]
    assert set(environment) <= VARIABLES
    assert not load({}, environment, secret_in).warnings


def test_workers_of_compose_believe_the_network_of_the_load_balancer_alone() -> None:
    settings = load({}, COMPOSE["services"]["worker"]["environment"], secret_in).settings
    network = COMPOSE["networks"]["front"]
    assert network == {"internal": True, "ipam": {"config": [{"subnet": settings.trusted_proxies[0]}]}}
    assert len(settings.trusted_proxies) == 1
    on_it = [name for name, service in COMPOSE["services"].items() if "front" in service.get("networks", ())]
    assert on_it == ["worker", "lb"]


@pytest.mark.parametrize("folder", ["", "tls", "nginx"])
def test_one_port_is_published_to_all(folder: str) -> None:
    text = (DEPLOY / folder / "compose.yml" if folder else ROOT / "docker-compose.yml").read_text()
    services = yaml.load(text.replace("!override", ""), yaml.SafeLoader)["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    (public,) = [port for port in published if not port.startswith("127.0.0.1:")]
    assert public.endswith(":8443" if folder == "tls" else ":8888")


def test_workers_reach_other_servers_only_where_the_operator_wants_it() -> None:
    inside = COMPOSE["services"]["worker"]["networks"]
    assert all(COMPOSE["networks"][name]["internal"] for name in inside)
    outbound = yaml.safe_load((DEPLOY / "outbound/compose.yml").read_text())
    assert outbound["services"] == {"worker": {"networks": {"outbound": {}}}}
    assert outbound["networks"] == {"outbound": None}


CAPABILITIES = {"secrets": ["CHOWN"], "turn": ["NET_BIND_SERVICE"]}


def test_every_service_is_restricted() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("cap_add", []) == CAPABILITIES.get(name, []), name
        if name != "secrets":
            limits = service["deploy"]["resources"]["limits"]
            assert {"memory", "pids"} <= set(limits), name


def variant(folder: str) -> dict[str, Any]:
    """The compose file of a variant, with the defaults of its variables."""
    text = (DEPLOY / folder / "compose.yml").read_text().replace("!override", "")
    parsed: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return parsed


@pytest.mark.parametrize("folder", ["sentinel", "cluster"])
def test_each_redis_of_a_variant_is_the_one_of_the_compose_file_with_a_volume_of_its_own(folder: str) -> None:
    found = variant(folder)
    services = found["services"]
    added = [name for name in services if name not in COMPOSE["services"]]
    for name in added:
        # Its rights, limits and networks come from there.
        assert services[name]["extends"] == {"file": "docker-compose.yml", "service": "redis"}
        assert not {"ports", "user", "read_only", "cap_add", "privileged", "image"} & set(services[name])
    # The script for the secrets gives each volume to the user of Redis.
    mounted = dict(one.split(":") for one in services["secrets"]["volumes"])
    assert set(mounted) == set(found["volumes"])
    assert all(path.startswith("/data") for path in mounted.values())
    with_data = {name for name in added if f"{name}:/data" in services[name]["volumes"]}
    assert with_data == set(found["volumes"]) == set(added) - {"cluster"}


def test_the_workers_of_the_sentinel_variant_ask_its_sentinels() -> None:
    services = variant("sentinel")["services"]
    settings = load({}, services["worker"]["environment"]).settings
    assert settings.replicas == 1
    assert "sentinel_username=relay" in settings.redis_url
    parsed = parse_redis_url(settings.redis_url)
    assert parsed is not None
    assert parsed.sentinels is not None
    assert {host for host, _ in parsed.sentinels.addresses} <= set(services)
    assert [name for name in services if name.startswith("sentinel-")] == ["sentinel-1", "sentinel-2", "sentinel-3"]


def test_the_nodes_of_the_cluster_variant_fit_together() -> None:
    found = variant("cluster")
    services = found["services"]
    nodes = [name for name in services if re.fullmatch(r"redis(-\d)?", name)]
    assert services["cluster"]["environment"]["NODES"].split() == nodes
    settings = load({}, services["worker"]["environment"]).settings
    parsed = parse_redis_url(settings.redis_url)
    assert parsed is not None
    assert [host for host, _ in parsed.nodes] == nodes
    assert settings.replicas == 1
    # Each master has a replica, and one more follows a master whose replica has taken its part.
    assert len(nodes) == 2 * int(services["cluster"]["environment"]["MASTERS"]) + 1
    network = found["networks"]["nodes"]
    assert network["internal"]
    (subnet,) = [ip_network(one["subnet"]) for one in network["ipam"]["config"]]
    addresses = [services[name]["environment"]["ADDRESS"] for name in nodes]
    assert addresses == [services[name]["networks"]["nodes"]["ipv4_address"] for name in nodes]
    assert len(set(addresses)) == len(nodes)
    assert all(ip_address(one) in subnet for one in addresses)
    others = [one["ipam"]["config"][0]["subnet"] for one in COMPOSE["networks"].values() if one and "ipam" in one]
    assert not any(subnet.overlaps(ip_network(one)) for one in others)


# The bounds of the load balancers are those of the workers behind them.

WORKERS = int(re.findall(r"RELAY_WORKERS:-(\d+)", (ROOT / "docker-compose.yml").read_text())[0])


def test_haproxy_and_nginx_bound_an_address_as_the_workers_do() -> None:
    connections = WORKERS * Settings().connections_per_address
    assert f"{{ sc1_conn_cur gt {connections} }}" in HAPROXY
    assert f"limit_conn connections {connections};" in NGINX
    assert f"{{ sc1_gpc0_rate gt {10 * Settings().handshake_rate} }}" in HAPROXY
    assert f"zone=handshakes:16m rate={Settings().handshake_rate}r/s;" in NGINX
    assert HAPROXY.count("rate(10s)") == 2


@pytest.mark.parametrize("code", ["too_many_connections", "too_many_handshakes"])
def test_haproxy_and_nginx_refuse_as_the_workers_do(code: str) -> None:
    # The text of a worker without the names of its settings, which are not those of the load balancer.
    text = re.sub(r" \(setting [\w-]+\)", "", ERRORS[code][1])
    body = json.dumps({"error": {"code": code, "text": text}}, separators=(",", ":"))
    assert body in HAPROXY
    assert body in NGINX
    assert f"hdr Retry-After {STATUS_HEADERS[ERRORS[code][0]]['Retry-After']} string" in HAPROXY


def test_haproxy_and_nginx_give_a_head_the_time_that_workers_give_it() -> None:
    seconds = f"{Settings().handshake_timeout:g}s"
    assert f"timeout http-request {seconds}" in HAPROXY
    assert f"timeout client-hs {seconds}" in HAPROXY
    assert f"client_header_timeout {seconds};" in NGINX
    assert f"client_body_timeout {seconds};" in NGINX


def test_haproxy_keeps_connections_free_for_operators() -> None:
    (files,) = map(int, re.findall(r"fd-hard-limit (\d+)", HAPROXY))
    (most,) = map(int, re.findall(r"^    maxconn (\d+)", HAPROXY, re.MULTILINE))
    # Each connection needs two files, and HAProxy some for itself.
    assert 100 <= (files - 200) / 2 - most <= 1000


def test_workers_of_compose_forward_on_a_network_of_their_own() -> None:
    settings = load({}, COMPOSE["services"]["worker"]["environment"], secret_in).settings
    assert settings.forward_listen == "0.0.0.0:8890"
    network = COMPOSE["networks"]["peers"]
    assert network == {"internal": True, "ipam": {"config": [{"subnet": settings.forward_networks[0]}]}}
    on_it = [name for name, service in COMPOSE["services"].items() if "peers" in service.get("networks", ())]
    assert on_it == ["worker"]


def test_the_load_balancer_has_room_for_a_session_id() -> None:
    (length,) = re.findall(r"stick-table type string len (\d+)", (DEPLOY / "haproxy" / "haproxy.cfg").read_text())
    # HAProxy cuts longer ones off.
    assert int(length) > LENGTH


def test_the_unit_sets_only_settings_of_today() -> None:
    text = (DEPLOY / "systemd" / "relay.env").read_text()
    settings, _, _ = load({}, dict(line.split("=", 1) for line in text.splitlines() if line and line[0] != "#"))
    unit = (DEPLOY / "systemd" / "relay.service").read_text()
    assert set(re.findall(r"^Environment=(\w+)=", unit, re.MULTILINE)) <= VARIABLES
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(patience) == stopping(settings) + 15


def test_the_image_has_the_version_of_the_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f'org.opencontainers.image.version="{__version__}"' in dockerfile
    assert MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]["image"].endswith(__version__)


def stopping(settings: Settings) -> float:
    return settings.drain_delay + settings.drain_timeout


def test_compose_waits_for_the_drain() -> None:
    worker = COMPOSE["services"]["worker"]
    settings, _, _ = load({}, worker["environment"], secret_in)
    assert float(worker["stop_grace_period"].removesuffix("s")) >= stopping(settings) + 5


def test_the_load_balancer_notices_within_the_drain_delay() -> None:
    settings, _, _ = load({}, COMPOSE["services"]["worker"]["environment"], secret_in)
    config = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    inter, fall = map(int, re.findall(r"check inter (\d+)s fall (\d+)", config)[0])
    assert inter * fall < settings.drain_delay


@pytest.mark.parametrize("file", ["haproxy/haproxy.cfg", "nginx/nginx.conf"])
def test_a_websocket_may_be_quiet_for_two_pings(file: str) -> None:
    text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
    (seconds,) = re.findall(r"(?:timeout tunnel|proxy_read_timeout) (\d+)s", text)
    assert 2 * Settings().ping_interval < int(seconds)


def test_redis_has_room_to_rewrite_its_file() -> None:
    redis = COMPOSE["services"]["redis"]
    (maxmemory,) = re.findall(r":-(\d+)mb", redis["command"][-1])
    (limit,) = re.findall(r":-(\d+)m", redis["deploy"]["resources"]["limits"]["memory"])
    assert int(limit) == 2 * int(maxmemory) + 128
    assert f"maxmemory {maxmemory}mb" in (DEPLOY / "redis" / "redis.conf").read_text()


def test_every_engine_asks_for_readiness_and_liveness() -> None:
    """Readiness decides which worker gets clients, liveness which is restarted."""
    assert COMPOSE["services"]["worker"]["healthcheck"]["test"] == ["CMD", "relay", "health"]
    assert (
        'HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["relay", "health", "--live"]'
        in (ROOT / "Dockerfile").read_text()
    )
    assert "uri /health ver" in (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    container = MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/health/live", "readiness": "/health", "liveness": "/health/live"}


# Secrets.

SECRETS = {
    "redis.acl", "cluster.acl", "redis_password", "operator_password", "replica_password", "sentinel_password",
    "cluster_password",
    "admin_token", "fleet_secret", "turn_secret", "grafana_password",
}  # fmt: skip


def make_secrets(folder: Path, *arguments: str) -> dict[str, str]:
    """Run the script on another folder, without changing owners; returns the secrets by name."""
    for name in ("volume", "data", "bin"):
        (folder / name).mkdir(exist_ok=True)
    chown = folder / "bin" / "chown"
    chown.write_text("#!/bin/sh\n")
    chown.chmod(0o755)
    text = (DEPLOY / "redis" / "secrets.sh").read_text()
    script = folder / "secrets.sh"
    script.write_text(text.replace("/run/relay", str(folder / "volume")).replace("/data", str(folder / "data")))
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["sh", str(script), *arguments], check=True, env=environment)
    return {path.name: path.read_text() for path in (folder / "volume").iterdir()}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    made = make_secrets(tmp_path)
    assert set(made) == SECRETS
    assert make_secrets(tmp_path) == made
    assert {len(text) for name, text in made.items() if not name.endswith(".acl")} == {64}
    settings = load({}, COMPOSE["services"]["worker"]["environment"], lambda path: made[Path(path).name]).settings
    assert settings.fleet_secret == made["fleet_secret"]
    assert settings.admin_token == made["admin_token"]
    mode = (tmp_path / "volume" / "fleet_secret").stat().st_mode
    assert oct(mode)[-3:] == "400"


def test_a_volume_of_an_older_version_gets_the_missing_secret_alone(tmp_path: Path) -> None:
    before = make_secrets(tmp_path)
    (tmp_path / "volume" / "fleet_secret").unlink()
    after = make_secrets(tmp_path)
    assert {name for name in SECRETS if before[name] != after[name]} == {"fleet_secret"}
    assert "docker compose run --rm --no-deps secrets" in (DEPLOY / "upgrade.sh").read_text()


def test_a_volume_of_an_older_version_gets_the_rules_of_this_one(tmp_path: Path) -> None:
    before = make_secrets(tmp_path)
    acl = tmp_path / "volume" / "redis.acl"
    acl.chmod(0o600)
    acl.write_text(re.sub(r"-@all( \+\S+)+", "+@all -@dangerous -@admin +info", before["redis.acl"], count=1))
    assert make_secrets(tmp_path) == before
    assert "acl load" in (DEPLOY / "upgrade.sh").read_text()
    acl.chmod(0o600)
    acl.write_text("user default on nopass ~* &* +@all\n")
    with pytest.raises(subprocess.CalledProcessError):
        make_secrets(tmp_path)


def test_redis_allows_the_relay_the_commands_that_its_code_sends() -> None:
    also = {"one": redis_user.OF_DATABASES | redis_user.OF_EARLIER, "cluster": frozenset()}
    for kind, more in also.items():
        allowed = redis_user.allowed(kind)
        assert set(allowed) == redis_user.sent(kind) | redis_user.OF_CONNECTIONS | more
        assert len(allowed) == len(set(allowed))


def test_sentinels_allow_workers_the_commands_that_their_code_sends() -> None:
    script = (DEPLOY / "sentinel" / "sentinel.sh").read_text()
    (allowed,) = re.findall(r"^user relay on nopass resetchannels -@all (.*)$", script, re.MULTILINE)
    assert allowed.split() == [f"+{command}" for command in redis_user.OF_SENTINELS]


@pytest.mark.parametrize(("file", "kind"), [("redis.acl", "one"), ("cluster.acl", "cluster")])
def test_workers_of_the_tests_have_the_rules_of_the_deployment(
    tmp_path: Path, file: str, kind: redis_user.Kind
) -> None:
    (line,) = [one for one in make_secrets(tmp_path)[file].splitlines() if one.startswith("user relay ")]
    login = re.compile(r"^user relay on #[0-9a-f]{64} ")
    assert login.match(line)
    assert login.sub("", line).split(" ") == redis_user.rules(kind)[2:]


@pytest.mark.parametrize("variant", ["cluster", "sentinel"])
def test_a_node_does_not_start_without_its_password(tmp_path: Path, variant: str) -> None:
    """The script for the secrets takes a file for a moment to read it, also when all containers restart."""
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\necho started\n")
    server.chmod(0o755)
    places = {"DATA": str(tmp_path), "SECRETS": str(tmp_path), "NODE": "redis", "MASTER": "redis", "ADDRESS": "::1"}
    command = ["sh", str(DEPLOY / variant / "node.sh")]

    def start() -> subprocess.CompletedProcess[str]:
        environ = places | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    refused = start()
    assert refused.returncode != 0
    assert "started" not in refused.stdout
    assert not list(tmp_path.glob("*.conf*"))
    (tmp_path / "replica_password").write_text("secret")
    assert start().stdout == "started\n"
    assert "masterauth secret\n" in "".join(file.read_text() for file in tmp_path.glob("*.conf"))


def test_new_replaces_all_secrets_but_that_of_grafana(tmp_path: Path) -> None:
    before = make_secrets(tmp_path)
    after = make_secrets(tmp_path, "new")
    assert {name for name in SECRETS if before[name] == after[name]} == {"grafana_password"}


def test_the_fleet_secret_is_given_to_workers_of_every_kind(tmp_path: Path) -> None:
    container = MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    unit = (DEPLOY / "systemd" / "relay.service").read_text()
    assert {"name": "RELAY_FLEET_SECRET_FILE", "value": "/run/relay/fleet_secret"} in container["env"]
    assert "LoadCredential=fleet_secret:/etc/relay/fleet_secret" in unit
    assert PAGE.count("openssl rand -hex 32 >secrets/fleet_secret") == 1
    assert PAGE.count("/dev/stdin /etc/relay/fleet_secret") == 1


# TURN.

TURN_CONFIG = (DEPLOY / "turn" / "turnserver.conf").read_text()


def test_workers_have_the_turn_server_of_the_profile() -> None:
    assert COMPOSE["services"]["turn"]["profiles"] == ["turn"]
    environment = compose_file("turn.example.com")["services"]["worker"]["environment"]
    settings = load({}, environment, secret_in).settings
    port = re.findall(r"^listening-port=(\d+)$", TURN_CONFIG, re.MULTILINE)[0]
    assert settings.turn_servers == tuple(f"turn:turn.example.com:{port}?transport={kind}" for kind in ("udp", "tcp"))
    assert settings.turn_secret == secret_in("/run/relay/turn_secret")
    # Without the profile there is a secret, and no server that it is for.
    assert load({}, COMPOSE["services"]["worker"]["environment"], secret_in).settings.turn_servers == ()


def start_turn(folder: Path, **environment: str) -> list[str]:
    """Run the script of the service with another program; returns the lines of the configuration that it gets."""
    make_secrets(folder)
    (folder / "bin" / "turnserver").write_text('#!/bin/sh\n[ "$*" = "-c $CONFIG" ] && cat "$CONFIG"\n')
    (folder / "bin" / "turnserver").chmod(0o755)
    (folder / "turnserver.conf").write_text(TURN_CONFIG)
    config = folder / "tmp.conf"
    text = (DEPLOY / "turn" / "start.sh").read_text()
    for path, here in {"/tmp/turnserver.conf": config, "/etc/turn": folder, "/run/relay": folder / "volume"}.items():
        text = text.replace(path, str(here))
    environment |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CONFIG": str(config)}
    told = subprocess.run(["sh", "-c", text], check=True, env=environment, capture_output=True, text=True).stdout
    assert oct(config.stat().st_mode)[-3:] == "600"
    return told.removeprefix(TURN_CONFIG).splitlines()


def test_coturn_gets_the_secret_of_the_workers_in_a_file(tmp_path: Path) -> None:
    lines = start_turn(tmp_path)
    assert lines == [f"static-auth-secret={(tmp_path / 'volume' / 'turn_secret').read_text()}", "no-tls"]
    _, external, *peers, _ = start_turn(tmp_path, EXTERNAL_IP="192.0.2.7/10.0.0.5", ALLOWED_PEERS="10.0.0.5 10.0.0.6")
    assert external == "external-ip=192.0.2.7/10.0.0.5"
    assert peers == ["allowed-peer-ip=10.0.0.5", "allowed-peer-ip=10.0.0.6"]


def test_the_turn_server_has_tls_where_it_has_a_certificate(tmp_path: Path) -> None:
    text = (DEPLOY / "turn-tls" / "compose.yml").read_text()
    text = re.sub(r"\$\{RELAY_TURN_HOST[^}]*\}", "turn.example.com", text)
    services = yaml.safe_load(re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", text))["services"]
    environment = COMPOSE["services"]["worker"]["environment"] | services["worker"]["environment"]
    *plain, secure = load({}, environment, secret_in).settings.turn_servers
    assert plain == [f"turn:turn.example.com:3478?transport={kind}" for kind in ("udp", "tcp")]
    _, *lines = start_turn(tmp_path, **services["turn"]["environment"])
    assert lines == ["cert=/run/turn.pem", "pkey=/run/turn.pem", "tls-listening-port=5349"]
    assert secure == "turns:turn.example.com:5349?transport=tcp"
    [mounted] = services["turn"]["volumes"]
    assert mounted.endswith(":/run/turn.pem:ro")


def test_coturn_reaches_no_address_that_is_not_public() -> None:
    found = re.findall(r"^denied-peer-ip=(.*)-(.*)$", TURN_CONFIG, re.MULTILINE)
    networks = [
        network for first, last in found for network in summarize_address_range(ip_address(first), ip_address(last))
    ]

    def denied(text: str) -> bool:
        return any(ip_address(text) in network for network in networks)

    private = [
        "10.0.0.1", "127.0.0.1", "169.254.169.254", "172.31.255.255", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1",
        "::ffff:10.0.0.1", "fd00:ec2::254", "fe80::1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1",
    ]  # fmt: skip
    assert [one for one in private if not denied(one)] == []
    assert not [one for one in ("8.8.8.8", "172.32.0.1", "100.128.0.1", "2600::1", "2a00:1450::1") if denied(one)]
    assert {"no-tcp-relay", "no-cli", "use-auth-secret", "no-multicast-peers"} <= set(TURN_CONFIG.splitlines())


# Images.

PINNED = ("Dockerfile", "docker-compose.yml", "deploy/nginx/compose.yml")
# A `docker buildx imagetools inspect NAME`, in whose answer the digest begins with DIGEST.
REGISTRY = """#!/bin/sh
[ "$DIGEST" ] || exit 1
printf 'Name:      %s\\nDigest:    sha256:%s%s\\n' "$4" "$DIGEST" "$(printf %s "$4" | sha256sum | cut -c 1-62)"
"""


def pin(folder: Path, digest: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "DIGEST": digest}
    command = ["sh", str(folder / "deploy" / "pin.sh")]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


def test_all_base_images_are_pinned_and_again(tmp_path: Path) -> None:
    for name in (*PINNED, "deploy/pin.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(REGISTRY)
    (tmp_path / "bin" / "docker").chmod(0o755)
    for digest in ("aa", "bb"):
        assert pin(tmp_path, digest).returncode == 0
        for name in PINNED:
            text = (tmp_path / name).read_text()
            named = re.findall(r"^(?:FROM| *image:) (?!signal-relay$)(\S+)", text, re.MULTILINE)
            assert named
            assert all(re.fullmatch(rf"[\w./-]+:[\w.-]+@sha256:{digest}[0-9a-f]{{62}}", one) for one in named), named
            # Nothing else has changed.
            assert re.sub(r"@sha256:\w+", "", text) == (ROOT / name).read_text()
    before = [(tmp_path / name).read_text() for name in PINNED]
    refused = pin(tmp_path, "")
    assert refused.returncode == 1
    assert "does not tell its digest; nothing was changed" in refused.stderr
    assert [(tmp_path / name).read_text() for name in PINNED] == before


# Kubernetes.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESOURCES)
def test_manifests_are_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], version, strict=True)


def test_a_manifest_can_be_wrong() -> None:
    wrong = json.loads(json.dumps(RESOURCES["deployment.yaml"]))
    wrong["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_manifests_fit_together() -> None:
    kinds = {one["kind"] for one in RESOURCES.values()}
    assert kinds == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    assert sorted(MANIFESTS["kustomization.yaml"]["resources"]) == sorted(RESOURCES)
    labels = RESOURCES["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        RESOURCES["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        RESOURCES["service.yaml"]["spec"]["selector"],
        RESOURCES["disruption.yaml"]["spec"]["selector"]["matchLabels"],
        RESOURCES["network.yaml"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    assert RESOURCES["autoscaler.yaml"]["spec"]["scaleTargetRef"]["name"] == "relay"
    assert RESOURCES["autoscaler.yaml"]["spec"]["metrics"][0]["pods"]["metric"]["name"] in own_metrics()
    ports = {
        port["name"] for port in RESOURCES["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert RESOURCES["service.yaml"]["spec"]["ports"][0]["targetPort"] in ports
    assert {rule["ports"][0]["port"] for rule in RESOURCES["network.yaml"]["spec"]["ingress"]} == ports


def from_map(variable: dict[str, Any]) -> str:
    reference = variable["valueFrom"]["configMapKeyRef"]
    assert reference["name"] == "relay"
    return NETWORKS[reference["key"]]


def test_the_page_names_the_networks_of_pods() -> None:
    assert all(f"--from-literal={key}=" in PAGE for key in NETWORKS)


def test_pods_have_settings_time_to_drain_and_few_rights() -> None:
    pod = RESOURCES["deployment.yaml"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {one["name"]: one.get("value") or from_map(one) for one in container["env"]}
    settings, _, _ = load({}, environment, lambda path: "redis://here" if path.endswith("redis") else secret_in(path))
    assert pod["terminationGracePeriodSeconds"] == stopping(settings) + 10
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < settings.drain_delay
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_balancers_log_paths_without_their_query() -> None:
    """A query may have a token. HAProxy's %HP is the path alone; %r, %HU, %HQ and its own formats have the query."""
    [log_format] = re.findall(r'^\s*# log-format "(.*)"$', HAPROXY, re.MULTILINE)
    assert "HP" in (names := set(re.findall(r"%(?:\{[^}]*\})?(\w+)", log_format)))
    assert not names & {"r", "HU", "HQ", "HPO", "hr", "hrl", "hs", "hsl", "CC"}
    assert not re.search(r"^\s*log\b", HAPROXY, re.MULTILINE)
    assert "%[" not in log_format
    assert not re.search(
        r"^\s*option (httplog|httpslog|tcplog)|^\s*(capture|http-request capture)", HAPROXY, re.MULTILINE
    )
    # nginx repeats a whole request in each line of its error log below "crit".
    assert re.findall(r"^\s*error_log (.*);", NGINX, re.MULTILINE) == ["stderr crit"]
    [formats] = re.findall(r"log_format failures ([^;]*);", NGINX)
    assert re.findall(r"^\s*access_log (.*);", NGINX, re.MULTILINE) == ["/dev/stdout failures if=$failed"]
    variables = set(re.findall(r"\$(\w+)", formats))
    assert "uri" in variables
    assert not variables & {"request", "request_uri", "args", "query_string", "http_referer", "http_authorization"}
    assert not any(name.startswith(("arg_", "http_", "cookie_")) for name in variables)
