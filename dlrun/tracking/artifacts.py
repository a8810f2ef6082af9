"""The files of a record that go to the store, and which of them the store lacks."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from dlrun import record

_PATTERNS = ("*.yaml", "*.html", "figures/*.png")
_NAMES = ("run.json", "status.json", "findings.txt", "predictions.npz")
_CHECKPOINTS = ("checkpoints/last.pt", "checkpoints/best.pt")

There = dict[str, int | None]
"""The sizes in bytes of the files in a store, by name; None where it does not say."""


def there(client: MlflowClient, run_id: str) -> There:
    """The files of a run that the store has."""
    found: There = {}
    folders: list[str | None] = [None]
    for folder in folders:
        for file in client.list_artifacts(run_id, folder):
            if file.is_dir and file.path in ("figures", "checkpoints"):
                folders.append(file.path)
            else:
                found[file.path] = file.file_size
    return found


def folder(uri: str) -> Path | None:
    """The directory that a run's files go to; None where they go to a server."""
    repository = get_artifact_repository(uri)
    local = isinstance(repository, LocalArtifactRepository)
    return Path(repository.artifact_dir) if local else None


def copy(path: Path, to: Path) -> None:
    """Copy a file into such a directory, whole or not at all, as MLflow does at twice the cost."""
    part = to / f".artifact.uploading.{os.getpid()}"  # of this name, MLflow lists none
    to.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(path, part)
        part.replace(to / path.name)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def lacking(directory: Path, settings: dict[str, Any], there: There) -> list[str]:
    """The files that have changed since they were sent, or have gone from the store."""
    wanted = [path for pattern in _PATTERNS for path in directory.glob(pattern)]
    names = [*_NAMES, *(_CHECKPOINTS if settings.get("checkpoints", True) else ())]
    if "metrics.jsonl" not in there or record.is_whole(directory):
        names.append("metrics.jsonl")  # a damaged file does not replace a whole one
    wanted += [directory / name for name in names]
    sent = dict(settings.get("files") or {})
    found = {path.relative_to(directory).as_posix(): path for path in wanted if path.is_file()}
    return [
        name
        for name, path in found.items()
        if sent.get(name) != stamp(path) or there.get(name, -1) not in (None, path.stat().st_size)
    ]


def stamp(path: Path) -> list[int]:
    """Size and time, which tell whether a file is still the one that was sent."""
    return [path.stat().st_size, path.stat().st_mtime_ns]


def lacks_model(client: MlflowClient, directory: Path, settings: dict[str, Any]) -> bool:
    """Whether the run has a saved model that is not in the store."""
    saved = directory / "model" / "MLmodel"
    if not settings.get("model", True) or not saved.is_file():
        return False
    known = settings.get("model_id")
    if not known or settings.get("model_stamp") != saved.stat().st_mtime_ns:
        return True
    try:
        return not client.list_logged_model_artifacts(known)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return True
