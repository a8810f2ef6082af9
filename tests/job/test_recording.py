import signal
from contextlib import closing, suppress

import pytest

from dlrun import record
from dlrun.engine.interrupt import raised
from dlrun.errors import Interrupted
from dlrun.job.recording import status_of


def fail() -> None:
    """Fail at a signal with another error, as C code may."""
    with suppress(Interrupted):
        signal.raise_signal(signal.SIGTERM)
    raise ValueError("Invalid affine transformation matrix")


def test_what_fails_after_a_signal_that_c_code_lost_is_killed(tmp_path):
    with closing(record.create(tmp_path, "run", {}, "")) as kept:
        with pytest.raises(Interrupted), raised(), status_of(kept):
            fail()
        told = record.read_status(kept.directory)
    assert (told["status"], told["message"]) == (record.KILLED, "by SIGTERM")
