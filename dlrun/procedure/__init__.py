"""The group `procedure`: what is done with a recipe. Training it is the first of them.

    (make_run, **options) -> the value that the recipe is judged by, or None

`make_run(**changes)` builds a fresh Trial of the recipe, with some settings changed, so
that cross-validation or bagging never sees a config.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from dlrun import record as records
from dlrun.engine.run import Run
from dlrun.engine.state import State
from dlrun.engine.train import Show
from dlrun.errors import Interrupted
from dlrun.record import Record


@dataclass
class Trial:
    """A Run, where it stands, its record, and those who follow it.

    finished: called with the record when its final status is on disk.
    measure_test: whether the test split is measured at the end.
    export: whether the best weights become a model that others can load.
    draw: begins to draw the curves of what is recorded so far, if they are wanted.
    """

    run: Run
    state: State
    record: Record
    show: Show
    finished: Callable[[Record], None]
    measure_test: bool = True
    export: bool = True
    draw: Callable[[], None] | None = None

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Inside, the run is RUNNING; how it ends becomes its status, whatever happens."""
        self.record.set_status(records.RUNNING)
        status, message = records.FINISHED, ""
        try:
            yield
        except (Interrupted, KeyboardInterrupt) as interrupted:
            status, message = records.KILLED, str(interrupted)
            raise
        except BaseException as error:  # SystemExit too, which a model of the user may raise
            status, message = records.FAILED, str(error) or type(error).__name__
            raise
        finally:
            self.record.set_status(status, message)
            self.finished(self.record)
            self.record.close()


class MakeRun(Protocol):
    """Builds a Trial of the recipe; `changes` are settings by their dotted keys."""

    def __call__(self, **changes: object) -> Trial:
        """Raises Mistake for what cannot be."""
