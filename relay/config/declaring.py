"""How a setting is declared: a field of a frozen Struct, annotated with its description, its bounds and its checks.

The relay's own settings are `Settings`. A package on a floor above declares a Struct of its own in the same way.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta, Struct

from relay.model.errors import NotAllowed

VARIABLE_PREFIX: Final = "RELAY_"

Check = Callable[[str], object]
"""Raises ValueError for a text that is not allowed, or `NotAllowed` with the reason."""

_MOST_ITEMS: Final = 1000


def to_flag(name: str) -> str:
    """Return the flag of a setting: `--like-this`."""
    return "--" + name.replace("_", "-")


def to_variable(name: str) -> str:
    """Return the environment variable of a setting: `RELAY_LIKE_THIS`."""
    return VARIABLE_PREFIX + name.upper()


def setting(
    text: str,
    *,
    consequence: str = "",
    secret: bool = False,
    allowed: str = "",
    check: Check | None = None,
    normalize: Callable[[str], str] | None = None,
    **bounds: Any,
) -> Meta:
    """Describe a setting.

    `consequence` says what happens when a limit is exceeded, `allowed` what `bounds` and `check` mean. `check` gets the
    text of the setting, or each item of a list; so does `normalize`, which returns the text to use instead, and raises
    the same errors as `check`.
    """
    extra = {
        "consequence": consequence,
        "secret": secret,
        "allowed": allowed,
        "check": check,
        "normalize": normalize,
    }
    return Meta(description=text, extra=extra, **bounds)


def seconds(text: str, *, ge: float = 0.05, le: float = 86_400, consequence: str = "") -> Meta:
    """Describe a setting that is a time."""
    return setting(text, ge=ge, le=le, consequence=consequence, allowed=f"seconds, {ge:.9g} to {le:.9g}")


def count(text: str, *, ge: int = 1, le: int = 10_000_000, consequence: str = "") -> Meta:
    """Describe a setting that is a whole number."""
    return setting(text, ge=ge, le=le, consequence=consequence, allowed=f"a whole number, {ge} to {le}")


def size(text: str, *, ge: int, le: int, consequence: str) -> Meta:
    """Describe a setting that is a number of bytes."""
    return setting(text, ge=ge, le=le, consequence=consequence, allowed=f"bytes, {ge} to {le}")


class Setting(NamedTuple):
    """One declaration, as text for help, error messages and docs; the last three are for reading its value."""

    name: str
    default: Any
    description: str
    allowed: str
    consequence: str
    secret: bool
    kind: Any
    check: Check | None
    normalize: Callable[[str], str] | None

    @property
    def flag(self) -> str:
        """`--like-this`."""
        return to_flag(self.name)

    @property
    def variable(self) -> str:
        """`RELAY_LIKE_THIS`."""
        return to_variable(self.name)

    @property
    def file_variable(self) -> str:
        """`RELAY_LIKE_THIS_FILE`, which names the file that holds a secret; empty if the setting is not a secret."""
        return f"{self.variable}_FILE" if self.secret else ""

    def read(self, text: str) -> Any:
        """Return the value that the text of a flag or variable means; raises ValueError, or `NotAllowed`."""
        is_list = self.kind.__origin__ == tuple[str, ...]
        items = _items(text) if is_list else (text,)
        if self.check:
            for item in items:
                self.check(item)
        if self.normalize:
            items = tuple(map(self.normalize, items))
            text = items[0] if not is_list else text
        # Not strict: flags and variables are text, from which msgspec reads numbers.
        return msgspec.convert(items if is_list else text, self.kind, strict=False)


def _items(text: str) -> tuple[str, ...]:
    """Return the items of a list: a JSON array of texts, or text with commas between."""
    if text.lstrip().startswith("["):
        try:
            found = msgspec.json.decode(text, type=tuple[str, ...])
        except msgspec.MsgspecError:
            # The items may be IPv6 addresses in brackets.
            found = tuple(text.split(","))
    else:
        found = tuple(text.split(","))
    items = tuple(item.strip() for item in found if item.strip())
    if len(items) > _MOST_ITEMS:
        raise NotAllowed(f"a list has at most {_MOST_ITEMS} items")
    return items


def settings_of(declaring: type[Struct]) -> Iterator[Setting]:
    """Every setting that a Struct declares, in its order; a field without a description is not a setting."""
    hints = get_type_hints(declaring, include_extras=True)
    for field in msgspec.structs.fields(declaring):
        if not hasattr(hints[field.name], "__metadata__"):
            continue
        kind, meta = hints[field.name].__origin__, hints[field.name].__metadata__[0]
        choices = " or ".join(getattr(kind, "__args__", ())) if kind not in (tuple[str, ...],) else ""
        yield Setting(
            name=field.name,
            default=field.default,
            description=meta.description,
            allowed=meta.extra["allowed"] or choices or "text",
            consequence=meta.extra["consequence"],
            secret=meta.extra["secret"],
            kind=hints[field.name],
            check=meta.extra["check"],
            normalize=meta.extra["normalize"],
        )
