"""Reading the stretches of a room without messages, as the scripts store them; see shared.lua."""

from relay.backend.bus import Stretches


def read_stretches(text: bytes, epoch: int) -> Stretches:
    """Read the value of a room's key `quiet`; one of another epoch, or of another program, tells nothing."""
    try:
        its_epoch, changed, *pairs = text.decode("ascii").split(" ")
        known = [(int(first), int(last)) for first, last in (pair.split("-") for pair in pairs)]
        return Stretches(known, int(changed)) if int(its_epoch) == epoch else Stretches()
    except ValueError:
        return Stretches()
