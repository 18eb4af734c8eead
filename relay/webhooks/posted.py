"""How a request to the receiver ended."""

from typing import Final, Literal, NamedTuple, get_args

PostOutcome = Literal["accepted", "refused", "timeout", "unreachable"]

POST_OUTCOMES: Final[tuple[PostOutcome, ...]] = get_args(PostOutcome)


class Posted(NamedTuple):
    """The outcome; `why` is for the log: it has no part of the URL, and of the answer only its status."""

    outcome: PostOutcome
    why: str = ""
