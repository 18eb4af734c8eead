"""The rights of the containers of a deployment: users, capabilities, the root file system, limits and networks."""

import json
from typing import Any

from tests.deploy.compose import Compose

Services = dict[str, str]
"""Services that run for good, each with the user that it runs as."""


def containers_of(compose: Compose, services: Services) -> list[tuple[str, dict[str, Any]]]:
    """The services that run, each with the answer of `docker inspect` about each of its containers."""
    return [(service, container) for service in services for container in compose.containers(service)]


def assert_least_power(compose: Compose, services: Services) -> None:
    """Each container runs as its user, with no capability, and cannot get one."""
    found = containers_of(compose, services)
    assert {service for service, _ in found} == set(services)
    for service, container in found:
        host = container["HostConfig"]
        assert container["Config"]["User"] == services[service]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        status = compose.docker("exec", container["Id"], "cat", "/proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["CapEff"] == "0000000000000000", service
        assert fields["NoNewPrivs"] == "1", service
        assert fields["Uid"].split() == [services[service].split(":")[0]] * 4, service


def assert_limited(compose: Compose, services: Services) -> None:
    """Each container has limits, starts again, and has bounded logs."""
    for service, container in containers_of(compose, services):
        host = container["HostConfig"]
        assert host["Memory"] > 0, service
        assert 0 < host["PidsLimit"] <= 64, service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, service


def networks_with_a_way_out(compose: Compose, services: Services) -> dict[str, set[str]]:
    """The networks of each service that are not internal."""

    def leads_out(network: str) -> bool:
        return compose.docker("network", "inspect", "--format", "{{.Internal}}", network).strip() != "true"

    return {
        service: {name.rpartition("_")[2] for name in container["NetworkSettings"]["Networks"] if leads_out(name)}
        for service, container in containers_of(compose, services)
    }


def secrets_read_by(compose: Compose, container: dict[str, Any]) -> set[str]:
    """The files of the volume of secrets that a container can read."""
    read = "cd /run/relay && for name in *; do cat $name >/dev/null 2>&1 && echo $name; done; true"
    return set(compose.docker("exec", container["Id"], "sh", "-c", read).split())


def secrets_shown(compose: Compose, services: Services) -> list[str]:
    """The secrets that logs, descriptions, environments or command lines of containers show."""
    # The rules have no secret.
    read = "cd /run/relay && for name in *_password *_token *_secret; do echo $name $(cat $name); done"
    mount = f"{compose.project}_secrets:/run/relay:ro"
    told = compose.docker("run", "--rm", "--volume", mount, "redis:8-alpine", "sh", "-c", read).split()
    secrets = dict(zip(told[::2], told[1::2], strict=True))
    assert {len(value) for value in secrets.values()} == {64}
    assert len(set(secrets.values())) == len(secrets)
    shown = compose("logs", "--no-color")
    for _, container in containers_of(compose, services):
        shown += json.dumps(container) + compose.docker("top", container["Id"])
        shown += compose.docker("exec", container["Id"], "cat", "/proc/1/environ", "/proc/1/cmdline")
    return [name for name, value in secrets.items() if value in shown]
