"""One run on its way to MLflow: created once, each point sent once, finished at the end.

`tracking.json` in the run's directory is the cursor: the store, MLflow's run id, and how many
points have arrived. It is a hint. Whenever it may be wrong, after a restart or a failed
request, the server is asked which points it has.

MLflow never changes or deletes a point. Where a run that was resumed, or has returned from a
divergence, contradicts the points that the server has, the record goes to a fresh run in MLflow;
the earlier one is marked as KILLED and replaced.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunData, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

from dlrun import record
from dlrun.record import bounds, points
from dlrun.tracking import address, artifacts, bulk, cursor, entries, history, late, model
from dlrun.tracking.history import REPLACED

_CHUNK = 4_000_000  # bytes of points that are read at once
_MOST = MAX_PARAMS_TAGS_PER_BATCH

Say = Callable[[float], None]
"""Called after every answer of the server, with the seconds that the next one may take."""


class _Heard:
    """A client that reports each answer, so that a slow server is not taken for a dead one.

    It writes what it can by the quick way.
    """

    def __init__(self, client: MlflowClient, store: Any, say: Say) -> None:
        """store: as `bulk.store` gives it."""
        self._client, self._store, self._say = client, store, say

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        quick = bulk.WRITES.get(name) if self._store is not None else None

        def call(*arguments: Any, **named: Any) -> Any:
            answer = quick(self._store, *arguments, **named) if quick is not None else None
            if not answer:
                bulk.commit(self._store)  # else MLflow would neither see it nor get to write
                answer = method(*arguments, **named)
            self._say(5)
            return answer

        return call if callable(method) else method


class Delivery:
    """Delivers the run in `directory`, which the caller holds; see `cursor.hold`.

    Every method may be repeated after an error.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment: str,
        directory: Path,
        say: Say = lambda seconds: None,
    ) -> None:
        """Nothing is sent yet."""
        self.directory = directory
        self.run_id = ""
        self.new_points = 0
        self._store = bulk.store(client)
        self._client: Any = _Heard(client, self._store, say)
        self._experiment = experiment
        self._say = say
        self._once = partial(late.once, client.tracking_uri, directory)
        self._may_answer_late = late.is_possible(client.tracking_uri)
        self._offset = 0  # of metrics.jsonl, in bytes: what comes before it is in the store
        self._lines = 0
        self._last = b""  # the line that ends there: another one means that the file was cut
        self._seen: history.History = {}  # what the server had when it was last asked
        self._sure = False  # whether the server has just that and what was sent since
        self._described: dict[str, Any] = {}
        self._known: RunData | None = None  # params and tags of the run; None: ask for them
        self._is_new = False  # whether it was created now, and has no files
        self._unwritten: dict[str, Any] = {}  # of the cursor
        self._is_local = address.sqlite_path(client.tracking_uri) is not None
        self._folder: Path | None = None  # where its files go, where that is here

    def deliver(self, live: bool) -> None:
        """Send all that is on disk and not in the store.

        live: whether a process still holds the record. Once none does, the record is final,
        and the run is finished in the store too.
        """
        if not live:
            record.mark_killed(self.directory)
        try:
            self.begin(live)
            self.points()
            if not live:
                self.finish()
        finally:
            self.write_cursor()

    def begin(self, live: bool) -> None:
        """Find or create the run, and describe it.

        live: whether its trainer is at work, so that MLflow shows it as RUNNING.
        """
        if not self.run_id:
            run = self._find() or self._create()
            self.run_id, self._known = str(run.info.run_id), run.data
            if self._is_local:
                self._folder = artifacts.folder(run.info.artifact_uri)
            about: dict[str, Any] = {"name": self._name} if self._is_new else {}
            if self._cursor.get("run_id") != self.run_id:
                about |= {"delivered": 0, "files": {}, "model_id": None, "model_stamp": None}
            about |= {"run_id": self.run_id, "experiment_id": self._experiment, "done": False}
            self._keep(**about)
            if history.is_deleted(run):
                self._client.restore_run(self.run_id)
            if live and run.info.status != record.RUNNING:
                self._client.update_run(self.run_id, record.RUNNING)
        self._rename()
        self.write_cursor()
        self._describe()

    def points(self) -> None:
        """Send every point that is on disk and not yet there."""
        while lines := self._read(self.directory / "metrics.jsonl"):
            told = [list(_metrics(line)) for line in lines]
            if history.contradicts(self._seen, [metric for point in told for metric in point]):
                self._replace()
                continue
            lacking = [
                [metric for metric in point if not history.has(self._seen, metric)]
                for point in told
            ]
            fresh = sorted((metric for point in lacking for metric in point), key=_rank)
            for start in range(0, len(fresh), MAX_METRICS_PER_BATCH):
                batch = fresh[start : start + MAX_METRICS_PER_BATCH]
                self._sure = False  # a request that fails may have been carried out
                self._client.log_batch(self.run_id, metrics=batch)
                self._sure = True
            self._offset += sum(len(line) for line in lines)
            self._lines += len(lines)
            self._last = lines[-1]
            self.new_points += sum(map(bool, lacking))
            self._keep(delivered=self._lines)

    def finish(self) -> None:
        """Send the files, the model and the final status; `points` comes before it."""
        status = record.read_status(self.directory)
        # Not of a killed run: resumed, it may reach these points again.
        ended = status.get("status") in (record.FINISHED, record.PRUNED, record.FAILED)
        if ended and self._seen and self._is_outlived():
            self._replace()
            self.points()
        self._describe()
        settings, first = self._cursor, self._is_new
        self._files(settings)
        saved = self.directory / "model"
        if artifacts.lacks_model(self._client, self.directory, settings):
            stamp = (saved / "MLmodel").stat().st_mtime_ns
            self._say(_time_for(saved))
            known = settings.get("model_id")
            where = self._client, self._experiment, self.run_id
            model_id = model.register(*where, saved, known, self._once, first)
            self._keep(model_id=model_id, model_stamp=stamp)
        state = status.get("status")
        if state not in (record.FINISHED, record.FAILED):
            state = record.KILLED
        message = entries.shorten(status.get("message", ""), entries.TAG_LIMIT)
        if message or "dlrun.message" in self._asked().tags:
            self._client.set_tag(self.run_id, "dlrun.message", message)
            self._known = None
        files = (self.directory / name for name in ("status.json", "metrics.jsonl"))
        at = max((file.stat().st_mtime for file in files if file.exists()), default=None)
        self._client.set_terminated(self.run_id, state, at and round(at * 1000))
        if self._may_answer_late:  # and have made a second run meanwhile
            self._twins()
        self._keep(done=True)
        self.write_cursor()

    def _is_outlived(self) -> bool:
        """Whether the store has points that the record has not."""
        if not record.is_whole(self.directory):  # it may only be damaged
            return False
        return history.outlives(self._seen, record.read_points(self.directory))

    @property
    def _info(self) -> dict[str, Any]:
        """What the record says of the run now."""
        return record.read_json(self.directory / "run.json")

    @property
    def _name(self) -> str:
        return self._info.get("name") or self.directory.name

    def _find(self) -> Run | None:
        """The run in the store, where there may be one."""
        self._sure = self._is_new = False
        if self._cursor.get("unasked"):  # no store was ever asked for one
            cursor.keep(self.directory, unasked=False)  # before it is
            return None
        return next(iter(self._twins()), None)

    def _twins(self) -> list[Run]:
        """The runs in the store that stand for the record; removes what was made twice."""
        known = self.run_id or self._cursor.get("run_id")
        uid = self._info.get("uid", "")
        found = history.runs(self._client, self._experiment, uid, known)
        for twin in found[1:]:
            if history.is_deleted(twin):
                continue
            self._client.set_terminated(twin.info.run_id, record.KILLED)
            if twin.data.metrics:
                self._client.set_tag(twin.info.run_id, REPLACED, "another run has the same record")
            else:
                self._client.delete_run(twin.info.run_id)
        return found

    def _create(self) -> Run:
        record.check(self.directory, needed=("run.json",))
        info = self._info
        started = datetime.fromisoformat(info["started"]).timestamp()
        run: Run = self._once(
            "run",
            lambda: self._client.create_run(
                self._experiment,
                start_time=round(started * 1000),
                tags=entries.tags(info),
                run_name=self._name,
            ),
        )
        self._begin_again({})
        self._is_new = True
        return run

    def _asked(self) -> RunData:
        """The params and tags that the store has."""
        if self._known is None:
            self._known = self._client.get_run(self.run_id).data
        return self._known

    def _replace(self) -> None:
        """Give up the run in MLflow, whose points no longer hold, for a fresh one."""
        self._client.set_terminated(self.run_id, record.KILLED)
        self._client.update_run(self.run_id, name=f"{self._name} (replaced)")
        # Last: a run with this tag is not found again.
        self._client.set_tag(self.run_id, REPLACED, "the run went back and took another way")
        self.run_id, self._described = "", {}
        self.begin(live=True)

    def _rename(self) -> None:
        """Give the run the name that its record has now; a name given in MLflow stays."""
        name = self._name
        known = self._cursor.get("name")
        if known not in (None, name):
            self._client.update_run(self.run_id, name=name)
        if known != name:
            self._keep(name=name)

    def _describe(self) -> None:
        """Send params, tags and the data set, again whenever they have changed in the record."""
        path = self.directory / "recipe.yaml"
        stamp = [_stamp(each) for each in (self.directory / "run.json", path)]
        before = self._described.get("stamp", [None, None])
        if before == stamp:
            return
        info, recipe = self._info, self._described.get("recipe", "")
        if stamp[1] != before[1]:
            try:
                recipe = bounds.read_yaml(path) if path.exists() else ""
            except ValueError as error:
                raise ValueError(f"{path} {error}") from None
        told = self._described.get("info", {})
        if (told, self._described.get("recipe")) == (info, recipe):
            self._described["stamp"] = stamp
            return
        said = (told.get("choices"), self._described.get("recipe")) == (info.get("choices"), recipe)
        known, self._known = self._asked(), None  # where this fails they are asked for anew
        for limit in (entries.VALUE_LIMIT, 500, 250):  # older servers accept less
            params = {} if said else entries.params(recipe, info.get("choices"), limit)
            tags = entries.tags(info)
            for key, value in params.items():  # MLflow allows no param to change
                if known.params.get(key, value) != value:
                    tags[entries.shorten(f"resumed.{key}", entries.KEY_LIMIT)] = value
            try:
                self._log(known, params, tags)
                break
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE" or limit == 250:
                    raise
        data = entries.dataset(info)
        if data and data != self._described.get("dataset"):
            context = InputTag("mlflow.data.context", "training")
            inputs = [DatasetInput(Dataset(**data), [context])]
            try:
                self._client.log_inputs(self.run_id, inputs)
            except MlflowException:  # another process has just added the same data set
                self._client.log_inputs(self.run_id, inputs)
        self._described = {"info": info, "recipe": recipe, "dataset": data, "stamp": stamp}
        self._known = known

    def _log(self, known: RunData, params: dict[str, str], tags: dict[str, str]) -> None:
        """Send what the store does not have yet, and note that it has it then."""
        new = {key: value for key, value in params.items() if key not in known.params}
        changed = {key: value for key, value in tags.items() if known.tags.get(key) != value}
        values = [Param(*param) for param in new.items()]
        sent = [RunTag(*tag) for tag in changed.items()]
        while values or sent:
            self._client.log_batch(self.run_id, params=values[:_MOST], tags=sent)
            values, sent = values[_MOST:], []
        known.params.update(new)
        known.tags.update(changed)

    def _begin_again(self, seen: history.History | None = None) -> None:
        """Go on at the first line; seen: what the server has, which is asked where it is None."""
        self._seen = history.fetch(self._client, self.run_id) if seen is None else seen
        self._sure = True
        self._offset, self._lines, self._last = 0, 0, b""

    def _read(self, path: Path) -> list[bytes]:
        """The next whole lines; the first ones again where the file was cut."""
        if not self._sure:
            self._begin_again()
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._offset - len(self._last))
            if file.read(len(self._last)) != self._last:  # it was cut, and may have grown again
                self._begin_again()
                file.seek(0)
            chunk = file.read(_CHUNK)
        return chunk[: chunk.rfind(b"\n") + 1].splitlines(keepends=True)

    def _files(self, settings: dict[str, Any]) -> None:
        """The recipe, the points, reports, figures and checkpoints; those that have changed."""
        there = {} if self._is_new else artifacts.there(self._client, self.run_id)
        self._is_new = False
        sent = dict(settings.get("files", {}))
        try:
            for name in artifacts.lacking(self.directory, settings, there):
                path = self.directory / name
                stamp = artifacts.stamp(path)
                self._say(_time_for(path))
                self._send(path, Path(name).parent.as_posix())
                sent[name] = stamp
        finally:
            self._keep(files=sent)

    def _send(self, path: Path, folder: str) -> None:
        """Send a file; the client would ask for the whole run to learn where its files are."""
        if self._folder is None:
            self._client.log_artifact(self.run_id, str(path), None if folder == "." else folder)
        else:
            artifacts.copy(path, self._folder / folder)
            self._say(5)

    @property
    def _cursor(self) -> dict[str, Any]:
        """The cursor as it is to be."""
        return cursor.read(self.directory) | self._unwritten

    def _keep(self, **changes: Any) -> None:
        self._unwritten |= changes

    def write_cursor(self) -> None:
        """Write down what has changed in it, once for all that a delivery has done.

        Nothing before the store has committed it: then the caller writes it down later.
        """
        if self._unwritten and bulk.is_committed(self._store):
            cursor.keep(self.directory, **self._unwritten)
            self._unwritten = {}


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _metrics(line: bytes) -> Iterator[Metric]:
    """The values of a line; none where it is damaged."""
    point = points.parse(line) or {"values": {}}
    for key, value in point["values"].items():
        yield Metric(entries.legal_key(key), float(value), point.get("time", 0), point["step"])


def _rank(metric: Metric) -> bool:
    """The place of a metric in a request: MLflow compares runs by the metric it received first.

    That is the first one of a validation: what the run monitors.
    """
    return not metric.key.startswith("val/")


def _time_for(path: Path) -> float:
    """Seconds that sending a file or a directory may take, at a megabyte a second."""
    files = path.rglob("*") if path.is_dir() else [path]
    return 5 + sum(file.stat().st_size for file in files if file.is_file()) / 1e6
