"""Reads the parameters that the URLs of several protocols have."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import QueryParams

from relay.model.channels import labels
from relay.model.envelope import MessageId
from relay.model.errors import Refused


class Parameters(dict[str, str]):
    """The parameters of a query; of several with one name, the last one counts.

    Starlette's `QueryParams` takes several times as long, which counts when thousands of clients come at once.
    """

    def __init__(self, parameters: Sequence[tuple[str, str]]) -> None:
        super().__init__(parameters)
        self._parameters = parameters

    def getlist(self, name: str) -> list[str]:
        """Return the values of all parameters with this name."""
        return [value for one, value in self._parameters if one == name]


def parse_since(text: str) -> MessageId | None:
    """Read the last id that a client has seen; None for "". Raises `Refused` (`bad_query`) for a text that is no id."""
    try:
        return MessageId.parse(text) if text else None
    except ValueError:
        raise Refused("bad_query", "since is not an id as the relay sends it: epoch-sequence") from None


def read_flag(query: Mapping[str, str], name: str) -> bool:
    """Return whether a parameter is set; raises `Refused` (`bad_query`) for a value that is neither 1 nor 0."""
    value = query.get(name, "0")
    if value not in {"", "0", "1", "false", "true"}:
        raise Refused("bad_query", f"{name} is 1 or 0")
    return value in {"1", "true"}


def read_channels(query: QueryParams | Parameters) -> Sequence[str] | None:
    """Return the channels of the parameters `channel`, None if there are none; raises `Refused` (`bad_query`)."""
    names = query.getlist("channel")
    try:
        return labels(names) if names else None
    except Refused as error:
        raise Refused("bad_query", error.text) from None
