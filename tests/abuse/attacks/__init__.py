"""The attacks: each module has one, as `ATTACK`."""

import importlib
import pkgutil

from tests.abuse.attack import Attack


def find() -> dict[str, Attack]:
    """All attacks by name, in the order of their modules' names."""
    modules = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return {module.ATTACK.name: module.ATTACK for module in modules}
