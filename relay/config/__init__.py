"""The settings of a relay process, and how their values are read.

`settings` declares every setting once, `load` reads flags, variables and files, and `old_names` lists the names that
earlier versions used.
"""

from relay.config.load import Loaded, ReadSecret, SettingsError, load
from relay.config.old_names import OLD_NAMES, OldName
from relay.config.settings import VARIABLE_PREFIX, ListenAddress, Setting, Settings, declared, masked

__all__ = [
    "OLD_NAMES",
    "VARIABLE_PREFIX",
    "ListenAddress",
    "Loaded",
    "OldName",
    "ReadSecret",
    "Setting",
    "Settings",
    "SettingsError",
    "declared",
    "load",
    "masked",
]
