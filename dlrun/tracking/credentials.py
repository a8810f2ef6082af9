"""The user and the password of a tracking server: used for delivery, recorded nowhere else.

A URI appears everywhere as `http://***@host:5000`. The whole one is kept in a file that only
the user can read, so that an interrupted delivery can be completed later.
"""

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

from dlrun import shell
from dlrun.tracking import address

_log = logging.getLogger("dlrun")
_typed: dict[str, str] = {}
"""The URIs that this process was given, by the form in which they are shown."""


def hidden(uri: str) -> str:
    """The URI as it may be recorded; `whole` gives the original back, where it can be one."""
    seen = shell.redacted(uri)
    if seen != uri:
        _typed[seen] = uri
        if address.problem(uri) is None:
            _keep(seen, uri)
    return seen


def whole(uri: str) -> str:
    """The URI to deliver to, with user and password where they are known."""
    if shell.HIDDEN not in uri:
        return uri
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    known = _typed.get(uri) or (given if shell.redacted(given) == uri else _kept(uri))
    if not known and "MLFLOW_TRACKING_PASSWORD" not in os.environ:
        _log.warning(
            f"the password for {uri} is not known here; type tracking.uri= with it once more, "
            "or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return known or uri.replace(f"{shell.HIDDEN}@", "")


def _file(uri: str) -> Path:
    state = shell.path(os.environ.get("XDG_STATE_HOME") or "~/.local/state", "XDG_STATE_HOME")
    return state / "dlrun" / "credentials" / hashlib.sha256(uri.encode()).hexdigest()[:16]


def _kept(uri: str) -> str:
    with suppress(OSError):
        return _file(uri).read_text(encoding="utf-8")
    return ""


def _keep(seen: str, uri: str) -> None:
    if _kept(seen) == uri:
        return
    path = _file(seen)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            part.unlink()
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(uri)
        part.replace(path)
    except OSError as error:
        _log.warning(f"the password for {seen} cannot be kept in {path}: {error.strerror}")
        return
    _log.warning(
        f"the password for {seen} is kept in {path.parent}, which only you can read, so that "
        "runs can be delivered later; it is recorded nowhere else"
    )
