"""The count of signals that have no acknowledgement, without pages."""

from tests.chaos.signals import Signals


def test_signals_of_each_connection_are_counted_by_themselves() -> None:
    signals = Signals()
    for connection in ("a", "b"):
        for number in range(3):
            assert signals.hear(connection, number, now=1.0, own_loss=0.0)
    assert (signals.received, signals.lost, signals.repeated, signals.disordered) == (6, 0, 0, 0)


def test_a_gap_before_a_later_signal_is_a_loss_and_the_end_of_a_connection_is_none() -> None:
    signals = Signals()
    for number in (2, 5):
        signals.hear("a", number, now=1.0, own_loss=0.0)
    # Of "b", the signals after 0 may have been lost with the connection of their sender.
    signals.hear("b", 0, now=1.0, own_loss=0.0)
    assert signals.lost == 4
    assert signals.gaps == ["a: 0", "a: 1", "a: 3", "a: 4"]


def test_a_late_signal_is_out_of_order_and_not_lost() -> None:
    signals = Signals()
    for number in (0, 2, 1, 3):
        signals.hear("a", number, now=1.0, own_loss=0.0)
    assert (signals.lost, signals.disordered) == (0, 1)


def test_a_signal_that_comes_twice_is_repeated_unless_the_connection_was_lost_between() -> None:
    signals = Signals()
    assert signals.hear("a", 0, now=1.0, own_loss=0.0)
    assert not signals.hear("a", 0, now=1.5, own_loss=0.0)
    assert (signals.repeated, signals.again) == (1, [])
    assert not signals.hear("a", 0, now=2.5, own_loss=2.0)
    assert (signals.received, signals.repeated, signals.again) == (1, 1, [1.0])
