"""The settings of a relay process, and how their values are read.

`settings` declares the relay's settings and `declaring` how that is done, `load` reads flags, variables and files, and
`old_names` lists the names that earlier versions used. Packages above declare further settings (`Extension`).
"""

from relay.config.declaring import VARIABLE_PREFIX, Setting
from relay.config.listen import ListenAddress
from relay.config.load import Extension, Loaded, ReadSecret, SettingsError, load
from relay.config.old_names import OLD_NAMES, OldName
from relay.config.settings import Settings, declared, masked

__all__ = [
    "OLD_NAMES",
    "VARIABLE_PREFIX",
    "Extension",
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
