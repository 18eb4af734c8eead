"""Install the other systems into build/bench or the benchmark's node_modules; the operating system is not changed.

A system that cannot be installed raises `Missing`, and the report gives the reason. The output of the tools goes to a
log: it names registries and folders that mean nothing on other machines.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["BENCH", "BUILD", "CENTRIFUGO", "LOAD", "PEERS", "ROOT", "Missing", "build_load", "nchan_version", "need"]

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[1]
PEERS = BENCH / "peers"
BUILD = ROOT / "build" / "bench"
LOAD = BUILD / "load"
NCHAN = BUILD / "nchan"
NCHAN_MODULE = NCHAN / "usr/lib/nginx/modules/ngx_nchan_module.so"
CENTRIFUGO = "v6.9.1"
COMPILE = ("cc", "-O2", "-Wall", "-Wextra", "-o")
DEBS = ("nginx", "libnginx-mod-nchan")


class Missing(Exception):
    """A system cannot be installed here; the text is the reason."""


def need(*tools: str) -> None:
    """Raise `Missing` unless these commands are installed."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        raise Missing(f"not installed here: {', '.join(absent)}")


def run(name: str, command: Sequence[str], folder: Path = ROOT, env: Mapping[str, str] | None = None) -> None:
    """Run one step of an installation and append its output to the log."""
    with (BUILD / f"install-{name}.log").open("a") as log:
        print("$", *command, file=log, flush=True)
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **(env or {})}, stdout=log, stderr=log, check=False
        )
    if done.returncode:
        raise Missing(f"`{' '.join(command[:3])} …` failed; build/bench/install-{name}.log has its words")


def is_fresh(name: str, *inputs: str | Path) -> bool:
    """Whether the stamp was made from these inputs (texts, and contents of files)."""
    return stamp(name).exists() and stamp(name).read_text() == digest(inputs)


def mark_fresh(name: str, *inputs: str | Path) -> None:
    """Write the stamp: the next run skips this step."""
    stamp(name).write_text(digest(inputs))


def stamp(name: str) -> Path:
    return BUILD / f".installed-{name}"


def digest(inputs: Sequence[str | Path]) -> str:
    contents = [part.read_bytes() if isinstance(part, Path) else part.encode() for part in inputs]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()


def build_c(source: Path, target: Path) -> None:
    """Compile one C file."""
    need("cc")
    if target.exists() and is_fresh(target.name, source):
        return
    print(f"bench: compiling {source.name}", flush=True)
    run(target.name, [*COMPILE, str(target), str(source)])
    mark_fresh(target.name, source)


def build_load() -> None:
    """Compile the load generator."""
    build_c(BENCH / "load" / "load.c", LOAD)


def build_write_loop() -> None:
    """Compile the write loop, the lower bound."""
    build_c(PEERS / "write_loop.c", BUILD / "write_loop")


def install_npm() -> None:
    """Install the Node peers from their lock file."""
    need("node", "npm")
    lock = PEERS / "package-lock.json"
    if (PEERS / "node_modules").exists() and is_fresh("npm", lock):
        return
    print("bench: installing the Node peers", flush=True)
    run("npm", ["npm", "ci", "--prefix", str(PEERS)])
    mark_fresh("npm", lock)


def install_centrifugo() -> None:
    """Build Centrifugo from its module."""
    need("go")
    if is_fresh("centrifugo", CENTRIFUGO):
        return
    print(f"bench: building Centrifugo {CENTRIFUGO}", flush=True)
    module = f"github.com/centrifugal/centrifugo/v6@{CENTRIFUGO}"
    run("centrifugo", ["go", "install", module], env={"GOFLAGS": "-mod=mod -buildvcs=false", "GOBIN": str(BUILD)})
    mark_fresh("centrifugo", CENTRIFUGO)


def build_centrifuge() -> None:
    """Build the server on the centrifuge library."""
    need("go")
    folder = PEERS / "centrifuge"
    inputs = [folder / "main.go", folder / "go.mod", folder / "go.sum"]
    if is_fresh("centrifuge", *inputs):
        return
    print("bench: building the server on the centrifuge library", flush=True)
    run("centrifuge", ["go", "build", "-o", str(BUILD / "centrifuge"), "."], folder, {"GOFLAGS": "-buildvcs=false"})
    mark_fresh("centrifuge", *inputs)


def install_nchan() -> None:
    """Unpack the distribution's nginx and its Nchan module, without root, service or files in /etc."""
    need("apt-get", "dpkg-deb")
    if nchan_version() and is_fresh("nchan", *DEBS):
        return
    print("bench: unpacking nginx with Nchan", flush=True)
    shutil.rmtree(NCHAN, ignore_errors=True)
    NCHAN.mkdir(parents=True)
    download = ["apt-get", "download", *DEBS]
    try:
        run("nchan", download, NCHAN)
    except Missing:
        if os.geteuid():
            raise Missing("apt-get knows no nginx: run `apt-get update` as root, then this again") from None
        run("nchan", ["apt-get", "update"])
        run("nchan", download, NCHAN)
    for package in sorted(NCHAN.glob("*.deb")):
        run("nchan", ["dpkg-deb", "--extract", str(package), str(NCHAN)])
    keep_to_prefix(NCHAN_MODULE)
    mark_fresh("nchan", *DEBS)


def keep_to_prefix(module: Path) -> None:
    """Have our copy of Nchan keep its temporary files with us: it has /var/lib/nginx built in, and its setting for that
    (nchan_message_temp_path) is refused wherever it stands, as a duplicate or as misplaced.
    """
    built_in, relative = b"/var/lib/nginx/", b"./default-temp-"
    module.write_bytes(module.read_bytes().replace(built_in, relative))


def nchan_version() -> str:
    """The versions of the packages that were unpacked."""
    named = [package.name.split("_")[:2] for package in sorted(NCHAN.glob("*.deb"))]
    return ", ".join(f"{name} {version.replace('%3a', ':')}" for name, version in named)
