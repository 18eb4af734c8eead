"""The count of signals that have no acknowledgement, without pages."""

from tests.chaos.signals import Fates, SentSignals, Signals, all_sent


def test_signals_of_each_connection_are_counted_by_themselves() -> None:
    signals = Signals()
    for connection in ("a", "b"):
        for number in range(3):
            assert signals.hear(connection, number, now=1.0, own_loss=0.0)
    assert (signals.received, signals.repeated, signals.disordered) == (6, 0, 0)
    assert (signals.last("a"), signals.last("c"), signals.has("b", 2), signals.has("c", 0)) == (2, -1, True, False)


def test_a_late_signal_is_out_of_order_and_not_lost() -> None:
    signals = Signals()
    for number in (0, 2, 1, 3):
        signals.hear("a", number, now=1.0, own_loss=0.0)
    assert (signals.received, signals.disordered) == (4, 1)


def test_a_signal_that_comes_twice_is_repeated_unless_the_connection_was_lost_between() -> None:
    signals = Signals()
    assert signals.hear("a", 0, now=1.0, own_loss=0.0)
    assert not signals.hear("a", 0, now=1.5, own_loss=0.0)
    assert (signals.repeated, signals.again) == (1, [])
    assert not signals.hear("a", 0, now=2.5, own_loss=2.0)
    assert (signals.received, signals.repeated, signals.again) == (1, 1, [1.0])


def fates(sent: SentSignals, *heard: int, told: tuple[float, ...] = ()) -> Fates:
    """The fates of signals to p1, which got some of them, and was told at these times that it has missed messages."""
    got = Signals()
    got.told.extend(told)
    for number in heard:
        got.hear("a", number, now=1.0, own_loss=0.0)
    found = Fates()
    found.add(sent, "p1", got)
    return found


def sent_to_p1(signals: int) -> SentSignals:
    sent = SentSignals("a")
    for number in range(signals):
        sent.send("p1", float(number))
    return sent


def test_a_signal_that_nobody_was_told_of_is_lost_in_silence() -> None:
    sent = sent_to_p1(4)
    assert all_sent([sent]) == 4
    assert fates(sent, 1) == Fates(1, silent=["a to p1: 0", "a to p1: 2", "a to p1: 3"])
    assert fates(sent, 0, 1, 2, 3) == Fates(4)


def test_the_signals_after_the_last_one_end_with_the_connection_of_their_sender() -> None:
    sent = sent_to_p1(4)
    sent.ended = True
    assert fates(sent, 1) == Fates(1, with_connection=2, silent=["a to p1: 0"])


def test_each_error_about_a_receiver_tells_of_one_signal_to_it() -> None:
    sent = sent_to_p1(3)
    sent.errors["p1"] = 1
    sent.errors["p2"] = 5
    found = fates(sent, 2)
    assert found == Fates(1, sender_told=1, silent=["a to p1: 1"])
    assert str(found) == (
        "1 delivered, 1 told to their sender, 0 to their receiver, 0 lost with their sender's connection, "
        "1 silently lost"
    )


def test_a_receiver_is_told_of_the_signals_before_that() -> None:
    found = fates(sent_to_p1(4), told=(1.0,))
    assert (found.receiver_told, found.told, len(found.silent)) == (2, 2, 2)
