"""Compiles the hot path to C with mypyc when a wheel is built; pyproject.toml lists its modules.

The environment variable `SIGNAL_RELAY_COMPILE` decides: `auto`, which is the default, compiles where that is possible,
and else builds pure Python; `1` fails then; `0` never compiles. An editable installation is always pure Python. The
`.py` files are installed as well: tracebacks show their lines.

pip shows the log of a build only with `--verbose`, so the wheel itself says why it is not compiled: `relay --version`
prints the file `NOTE`.
"""

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "SIGNAL_RELAY_COMPILE"
NOTE = "relay/not_compiled.txt"
REQUIREMENTS = ["mypy>=2.4,<3", "setuptools>=65"]


class CompileHook(BuildHookInterface[Any]):
    """The build hook."""

    def dependencies(self) -> list[str]:
        """Return the packages that compiling needs: the compiler, and those whose types the modules use."""
        return [] if not is_wanted() or obstacle() else [*REQUIREMENTS, *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the result to the wheel."""
        if self.target_name != "wheel" or version == "editable" or not is_wanted():
            return
        self._folder = tempfile.TemporaryDirectory(prefix="relay-compiled-")
        folder, reason = Path(self._folder.name), obstacle()
        if not reason:
            try:
                build_data["force_include"].update(compiled(Path(self.root), self.config["modules"], folder))
            except ImportError as error:
                reason = f"a requirement for compiling is missing ({error})"
            except (Exception, SystemExit) as error:  # mypyc ends the process where a type is wrong
                self.app.display_warning(f"relay: {error}")
                reason = f"compiling failed ({type(error).__name__}); pip shows the log with --verbose"
            else:
                build_data["pure_python"], build_data["infer_tag"] = False, True
                self.app.display_info(f"relay: compiled, {len(self.config['modules'])} modules")
                return
        if os.environ.get(SWITCH) == "1":
            self._folder.cleanup()
            raise RuntimeError(f"{SWITCH}=1, but {reason}")
        self.app.display_warning(f"relay: pure Python, as {reason}")
        (folder / "note").write_text(reason)
        build_data["force_include"][str(folder / "note")] = NOTE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder of the files that are in the wheel now."""
        folder = getattr(self, "_folder", None)
        if folder is not None:
            folder.cleanup()


def is_wanted() -> bool:
    """Return whether the hot path is to be compiled; raises ValueError for an unknown value of the variable."""
    value = os.environ.get(SWITCH, "auto")
    if value not in {"0", "1", "auto"}:
        raise ValueError(f"{SWITCH} is 0, 1 or auto, not {value!r}")
    return value != "0"


def obstacle() -> str:
    """Return why nothing can be compiled here; "" if it can."""
    if sys.implementation.name != "cpython":
        return "only CPython runs compiled modules"
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(command) is None:
        return f"there is no C compiler ({command})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "there are no headers of Python (python3-dev)"
    return ""


def compiled(root: Path, modules: list[str], folder: Path) -> dict[str, str]:
    """Compile the modules of the package in `root`; return the files in `folder`, and their places in the wheel."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    # The modules and all that they import are read here: the C files are written into the current folder.
    shutil.copytree(root / "relay", folder / "relay", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    with chdir(folder):
        options = ["--strict", "--follow-imports=silent", f"--cache-dir={folder / 'cache'}"]
        extensions = mypycify([*options, *modules], opt_level="2", debug_level="0")
        command = Distribution({"name": "relay", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.ensure_finalized()
        command.run()
    built = folder / "lib"
    return {str(path): str(path.relative_to(built)) for path in built.rglob("*.so")}
