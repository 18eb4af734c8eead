"""The commands of deploy/README.md."""

import re
from typing import Final

from tests.deploy.compose import ROOT

PAGE: Final = (ROOT / "deploy" / "README.md").read_text()
COMMANDS: Final = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.strip().splitlines()
]

# They need the containers of a variant.
(SHOW_MASTER,) = [line for line in COMMANDS if line.endswith("sentinel master relay")]
(SHOW_NODES,) = [line for line in COMMANDS if line.endswith("cluster nodes'")]
