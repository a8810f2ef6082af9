"""What has led to an error, however the errors hang together."""

from dlrun.engine.interrupt import within
from dlrun.errors import Interrupted, led_to


def ring(first: BaseException, second: BaseException) -> BaseException:
    """Each of them has led to the other."""
    first.__cause__, second.__context__ = second, first
    return first


def test_a_ring_of_errors_has_an_end():
    first, second = ValueError("first"), KeyError("second")
    assert list(led_to(ring(first, second))) == [first, second]
    assert within(ring(first, second)) is None


def test_a_signal_is_found_in_what_was_made_of_it():
    stopped = Interrupted(2)
    made = RuntimeError("a library's own")
    made.__context__ = stopped
    assert within(made) is stopped
    assert within(stopped) is stopped
    assert within(None) is None
