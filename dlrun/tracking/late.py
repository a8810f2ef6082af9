"""Asking a server once for what must exist once, though its answer may come late.

A request that times out may still be carried out. Asked again at once, a slow server creates
two runs. So for a while the run is looked for instead of being asked for again.
"""

from collections.abc import Callable
from pathlib import Path
from time import time
from typing import TypeVar

from mlflow.exceptions import MlflowException
from requests.exceptions import ConnectTimeout
from urllib3.exceptions import NewConnectionError

from dlrun.errors import led_to
from dlrun.tracking import cursor

WINDOW = 60.0
"""Seconds after which an unanswered request counts as lost."""

Made = TypeVar("Made")


class Unanswered(Exception):
    """It was asked for and may still appear."""


def is_possible(uri: str) -> bool:
    """Whether a store may carry out a request after it has timed out."""
    return uri.startswith(("http", "databricks"))


def once(uri: str, directory: Path, what: str, make: Callable[[], Made]) -> Made:
    """Ask a store for something of a run that was not found; the run's cursor remembers it.

    Raises Unanswered while what was asked for before may still appear.
    """
    if not is_possible(uri):
        return make()
    key = f"asked_{what}"
    since = time() - cursor.read(directory).get(key, 0)
    if 0 <= since < WINDOW:
        raise Unanswered(
            f"the server was asked for the {what} {since:.0f} s ago and has not answered; "
            f"it is asked again after {WINDOW:.0f} s"
        )
    cursor.keep(directory, **{key: time()})
    try:
        made = make()
    except MlflowException as error:
        if _refused(error):
            cursor.keep(directory, **{key: 0})
        raise
    cursor.keep(directory, **{key: 0})
    return made


def _refused(error: BaseException | None) -> bool:
    """Whether a request certainly had no effect."""
    if isinstance(error, MlflowException) and hasattr(error, "json"):  # MLflow itself has answered
        return int(error.get_http_status_code()) < 500
    for each in led_to(error):
        reason = getattr(each.args[0], "reason", None) if each.args else None
        if isinstance(each, (ConnectTimeout, NewConnectionError)):
            return True
        if isinstance(reason, NewConnectionError):
            return True
    return False
