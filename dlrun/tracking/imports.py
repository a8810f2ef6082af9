"""How large libraries are imported sooner."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 100  # modules


@contextmanager
def quick() -> Iterator[None]:
    """Inside, Python looks for no garbage; nor later in what was made by importing much.

    A module that is imported leaves hardly any, and looking for it takes a fifth of the time
    that torch or MLflow need. Where nothing new is imported, nothing is exempt from later looks:
    a process may come here once for each of its runs.
    """
    enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - before > _MANY:
            gc.freeze()
        if enabled:
            gc.enable()
