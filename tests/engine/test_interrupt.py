import signal
from contextlib import suppress

import pytest

from dlrun.engine.interrupt import deferred, raised, within
from dlrun.errors import Interrupted


def lose(signum: int) -> None:
    """Drop what a signal raises, as C code may."""
    with suppress(Interrupted):
        signal.raise_signal(signum)


def fail(signum: int) -> None:
    """Make another error of it, as matplotlib does."""
    lose(signum)
    raise ValueError("Invalid affine transformation matrix")


def test_what_fails_after_a_signal_that_c_code_lost_was_stopped_by_it():
    with pytest.raises(Interrupted, match="SIGTERM") as stopped, raised():
        fail(signal.SIGTERM)
    assert stopped.value.exit_code == 143
    assert within(ValueError("of the next command")) is None


def test_a_signal_that_c_code_lost_ends_the_next_training_at_its_first_step():
    with raised():
        with deferred() as request:
            assert not request.signum
        lose(signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGINT"), deferred() as request:
            assert request.signum == signal.SIGINT


def test_a_signal_that_was_noted_too_late_to_be_looked_for_is_raised_at_the_end():
    with pytest.raises(Interrupted, match="SIGTERM"), deferred():
        signal.raise_signal(signal.SIGTERM)


def test_what_fails_after_a_second_signal_that_c_code_lost_was_stopped_by_it():
    def twice():
        signal.raise_signal(signal.SIGINT)
        fail(signal.SIGTERM)

    with pytest.raises(Interrupted, match="at once") as stopped, deferred():
        twice()
    assert stopped.value.exit_code == 143


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(ValueError, match="its own"), raised():
        raise ValueError("its own")
