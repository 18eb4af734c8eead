"""A page and two workers on one origin, in each of the ways that docs/same-origin.md shows."""

import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.documentation import commands
from tests.fleet import require
from tests.integration.served import served
from tests.ports import free_port

PAGE = "docs/same-origin.md"
WAYS = ("static", "nginx", "haproxy")
_START = 45.0


@contextmanager
def one_origin(way: str, configuration: str, page: Path, folder: Path, *options: str) -> Iterator[str]:
    """Serve the folder `page` and two workers; give the URL of both.

    The relay has the options of the command that docs/same-origin.md shows for this way, and `options`. `configuration`
    is that of the proxy; `folder` is for the files of the proxy itself.
    """
    command = dict(zip(WAYS, commands(PAGE), strict=True))[way]
    [_, _, *shown] = shlex.split(re.sub(r"(?<=--static )\S+", str(page), command))
    with served(*shown, "--workers", "2", *options) as relay:
        if not configuration:
            yield relay
            return
        port = free_port()
        with _RUNNING[way](_here(configuration, port, relay, page, folder), folder, port) as url:
            yield url


def _here(configuration: str, port: int, relay: str, page: Path, folder: Path) -> str:
    """Return a configuration with the addresses and folders of this test."""
    for shown, here in (
        (r"(listen |bind :)80\b", rf"\g<1>{port}"),
        (r"127\.0\.0\.1:8888", relay.removeprefix("http://")),
        (r"/srv/page", str(page)),
        (r"/var/log/nginx", str(folder)),
    ):
        configuration = re.sub(shown, here, configuration)
    return configuration


@contextmanager
def _nginx(configuration: str, folder: Path, port: int) -> Iterator[str]:
    (folder / "page.conf").write_text(configuration)
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; worker_processes 1; {'user root;' if os.geteuid() == 0 else ''}\n"
        "events { worker_connections 256; }\n"
        "http {\n"
        f"{places}client_body_temp_path {folder}/body;\n"
        "include /etc/nginx/mime.types; default_type application/octet-stream;\n"
        f"include {folder}/page.conf;\n"
        "}\n"
    )
    # nginx opens its own error log before it has read the configuration.
    command = [require("nginx"), "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    with _listening(command, port) as url:
        yield url


@contextmanager
def _haproxy(configuration: str, folder: Path, port: int) -> Iterator[str]:
    (folder / "haproxy.cfg").write_text(configuration)
    with _listening([require("haproxy"), "-db", "-f", f"{folder}/haproxy.cfg"], port) as url:
        yield url


_RUNNING = {"nginx": _nginx, "haproxy": _haproxy}


@contextmanager
def _listening(command: Sequence[str], port: int) -> Iterator[str]:
    """Run a proxy from the moment at which it accepts connections."""
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + _START
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert process.poll() is None, "the proxy has ended"
                    assert time.monotonic() < deadline, "the proxy does not listen"
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
