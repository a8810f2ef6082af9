"""What is written past MLflow's client: the rows that it writes, and where it is asked."""

import math
import random
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from dlrun import record
from dlrun.tracking import bulk, cursor, store
from dlrun.tracking.address import sqlite_path
from dlrun.tracking.delivery import Delivery

VALUES = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.5, 2.0, 0.1 + 0.2, 1e-300)


class Side:
    """Two new runs in a database."""

    def __init__(self, uri):
        self.uri = uri
        self.client, self.experiment = store.connect(uri, "dlrun")
        self.quick = Delivery(self.client, self.experiment, Path())._client
        new = [self.client.create_run(self.experiment, run_name="a run") for _ in range(2)]
        self.runs = [run.info.run_id for run in new]

    def open(self):
        return sqlite3.connect(sqlite_path(self.uri), isolation_level=None, check_same_thread=False)

    def rows(self, table):
        """The runs' rows in the order in which they came, with the types of their values."""
        with closing(self.open()) as database:
            asked = f"SELECT *, typeof(value) FROM {table} WHERE run_uuid IN (?, ?) ORDER BY rowid"
            found = database.execute(asked, self.runs).fetchall()
        return [[self.runs.index(x) if x in self.runs else x for x in row] for row in found]

    def answers(self):
        """What MLflow says of the runs."""
        said = []
        for run_id in self.runs:
            data = self.client.get_run(run_id).data
            said.append(repr([list(each.items()) for each in (data.metrics, data.params)]))
            said.append(repr(sorted(data.tags.items())))
            for key in data.metrics:
                history = self.client.get_metric_history(run_id, key)
                said.append(repr([(m.key, m.step, m.timestamp, m.value) for m in history]))
        return said


@pytest.fixture(scope="module")
def another_database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('theirs') / 'mlflow.db'}"


@pytest.fixture
def ours(database):
    return Side(database)


@pytest.fixture
def theirs(another_database):
    return Side(another_database)


def rows_of(side):
    return {name: side.rows(name) for name in ("metrics", "latest_metrics", "params", "tags")}


def write(side, run_id, **entries):
    assert bulk.log_batch(bulk.store(side.client), run_id, **entries)


def points(chance, count):
    """Points out of order, many at the same step, some of them at the same time."""
    return [
        Metric(
            chance.choice(["val/loss", "train/loss", "lr"]),
            chance.choice(VALUES),
            chance.choice([0, 1000, 1001]),
            chance.choice([0, 1, 2, 7, -1]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_the_rows_are_those_of_mlflow(ours, theirs, seed):
    chance, sent = random.Random(seed), []
    for batch in range(8):
        run = chance.randrange(2)
        entries = {"metrics": points(chance, chance.choice([0, 1, 30]) if batch else 90)}
        if sent and batch % 3 == 2:
            entries["metrics"] += chance.choice(sent)  # a request that is repeated
        sent.append(entries["metrics"])
        entries["params"] = [Param(f"p{batch}.{i}", "v" * i) for i in range(1, 4)]
        names = chance.sample(["device", "host", "git.dirty"], 2)
        entries["tags"] = [RunTag(name, chance.choice(["a", ""])) for name in names]
        write(ours, ours.runs[run], **entries)
        theirs.client.log_batch(theirs.runs[run], **entries)
        assert rows_of(ours) == rows_of(theirs)
    assert ours.answers() == theirs.answers()
    assert len(ours.rows("metrics")) > 50


@pytest.mark.parametrize(
    ("earlier", "later", "latest"),
    [
        ((3, 10, 1.0), (2, 20, 9.0), 1.0),
        ((3, 10, 1.0), (3, 9, 9.0), 1.0),
        ((3, 10, 1.0), (3, 11, 0.5), 0.5),
        ((3, 10, 1.0), (3, 10, 0.5), 1.0),
        ((3, 10, 1.0), (3, 10, math.inf), 1.7976931348623157e308),
        ((3, 10, 1.0), (4, 0, -math.inf), -1.7976931348623157e308),
        ((3, 10, -1.0), (3, 10, math.nan), math.nan),
        ((3, 10, 1.0), (3, 10, math.nan), 1.0),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_the_latest_is_the_largest_step_then_time_then_value(ours, earlier, later, latest, at_once):
    first, second = (Metric("a", value, at, step) for step, at, value in (earlier, later))
    for metrics in [[first, second]] if at_once else [[first], [second]]:
        write(ours, ours.runs[0], metrics=metrics)
    found = ours.client.get_run(ours.runs[0]).data.metrics["a"]
    assert repr(found) == repr(latest)
    assert len(ours.client.get_metric_history(ours.runs[0], "a")) == 2


def test_what_is_sent_again_changes_nothing(ours):
    metrics = points(random.Random(0), 60)
    write(ours, ours.runs[0], metrics=metrics)
    before = rows_of(ours)
    for again in (metrics, metrics[::-1], metrics[:7]):
        write(ours, ours.runs[0], metrics=again)
    assert rows_of(ours) == before
    assert len(before["latest_metrics"]) == 3


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"params": [Param("new", "1"), Param("epochs", "4")]}, "Changing param values"),
        ({"metrics": [Metric("a@b", 1.0, 0, 0)]}, "Invalid value"),
        ({"metrics": [Metric("a", 1.0, -1, 0)]}, "Timestamp must be a nonnegative"),
        ({"metrics": [Metric("b", True, 0, 0)]}, "Invalid value"),
        ({"metrics": [Metric("b", 1.0, 0, None)]}, "Step must be a valid long"),
        ({"params": [Param("k" * 300, "1")]}, "exceeds the maximum length"),
    ],
)
def test_what_mlflow_refuses_is_refused_and_nothing_of_it_written(ours, entries, said):
    run_id, quick = ours.runs[0], ours.quick
    known = [Metric("b", 1.0, 0, 0)]  # a name that it has found right is no licence
    quick.log_batch(run_id, params=[Param("epochs", "3")], metrics=known)
    before = rows_of(ours)
    with pytest.raises(MlflowException, match=said):
        quick.log_batch(run_id, **{"metrics": [Metric("b", 1.0, 0, 0)], **entries})
    assert rows_of(ours) == before


@pytest.mark.parametrize("which", ["deleted", "0" * 32])
def test_a_run_that_is_not_there_takes_nothing(ours, which):
    run_id, said = which, "not found"
    if which == "deleted":
        run_id, said = ours.runs[0], "must be in the 'active' state"
        ours.client.delete_run(run_id)
    with pytest.raises(MlflowException, match=said):
        ours.quick.log_batch(run_id, metrics=[Metric("a", 1.0, 0, 0)])
    with pytest.raises(MlflowException, match=said):
        ours.quick.log_inputs(run_id, sources("digits"))
    with pytest.raises(MlflowException, match=said):
        ours.quick.set_terminated(run_id, "KILLED", 5)
    assert ours.rows("metrics") == []


def test_a_param_that_has_come_by_another_way_is_no_error(ours):
    ours.client.log_param(ours.runs[0], "epochs", "3")
    ours.quick.log_batch(ours.runs[0], params=[Param("epochs", "3"), Param("seed", "1")])
    assert ours.client.get_run(ours.runs[0]).data.params == {"epochs": "3", "seed": "1"}


def test_a_name_among_the_tags_names_the_run(ours):
    ours.quick.log_batch(ours.runs[0], tags=[RunTag("mlflow.runName", "mine"), RunTag("host", "h")])
    found = ours.client.get_run(ours.runs[0])
    assert (found.info.run_name, found.data.tags["host"]) == ("mine", "h")


def test_points_of_a_model_go_to_the_model_too(ours, monkeypatch):
    model = ours.client.create_logged_model(ours.experiment, "model")
    monkeypatch.setattr("mlflow.tracking.fluent.get_active_model_id", lambda: model.model_id)
    monkeypatch.setattr(bulk, "get_active_model_id", lambda: model.model_id)
    ours.quick.log_batch(ours.runs[0], metrics=[Metric("a", 1.0, 0, 0)])
    assert [each.value for each in ours.client.get_logged_model(model.model_id).metrics] == [1.0]


def begun(side, run):
    """A run's row and tags without what is another each time; and what the caller is told."""
    about = run.info
    with closing(side.open()) as database:
        asked = "SELECT *, typeof(start_time) FROM runs WHERE run_uuid = ?"
        (row,) = database.execute(asked, [about.run_id]).fetchall()
        asked = "SELECT key, value, typeof(value) FROM tags WHERE run_uuid = ? ORDER BY rowid"
        tags = database.execute(asked, [about.run_id]).fetchall()
    told = [repr(sorted(vars(about).items())), repr(sorted(run.data.tags.items()))]
    folder = str(Path(sqlite_path(side.uri)).parent)
    return [repr(each).replace(about.run_id, "").replace(folder, "") for each in (row, tags, told)]


@pytest.mark.parametrize("tags", [{}, {"mlflow.user": "ann"}, {"b": "", "a": "ä 'x'", "c": "1"}])
def test_a_new_run_is_that_of_mlflow(ours, theirs, tags):
    made = bulk.create_run(bulk.store(ours.client), ours.experiment, 1234, tags, "model=cnn")
    asked = theirs.client.create_run(theirs.experiment, 1234, tags, "model=cnn")
    assert begun(ours, made) == begun(theirs, asked)
    assert repr(ours.client.get_run(made.info.run_id).info) == repr(made.info)
    assert "ann" in repr(begun(ours, made)) or "mlflow.user" not in tags


def test_mlflow_begins_the_runs_that_it_alone_understands(ours):
    bulk_store = bulk.store(ours.client)
    gone = ours.client.create_experiment("gone")
    ours.client.delete_experiment(gone)
    for experiment, tags, name in (
        (gone, {}, "a"),
        ("12345", {}, "a"),
        (ours.experiment, {}, ""),
        (ours.experiment, {"mlflow.runName": "another"}, "a"),
    ):
        count = len(ours.client.search_runs([ours.experiment]))
        assert not bulk.create_run(bulk_store, experiment, 1234, tags, name)
        assert len(ours.client.search_runs([ours.experiment])) == count
    with pytest.raises(MlflowException, match="different values"):
        ours.quick.create_run(
            ours.experiment, start_time=1, tags={"mlflow.runName": "another"}, run_name="a"
        )
    assert ours.quick.create_run(ours.experiment, start_time=1, tags={}, run_name="").info.run_name


def test_the_end_is_that_of_mlflow(ours, theirs):
    assert bulk.set_terminated(bulk.store(ours.client), ours.runs[1], "FAILED", 1234)
    theirs.client.set_terminated(theirs.runs[1], "FAILED", 1234)
    for side in (ours, theirs):
        ends = [(run.status, run.end_time) for run in map(info(side), side.runs)]
        assert ends == [("RUNNING", None), ("FAILED", 1234)]
    assert rows_of(ours) == rows_of(theirs)


def sources(name, *tags):
    data = Dataset(name, "abc", "dlrun", '{"data": "digits"}', profile="{}")
    return [DatasetInput(data, [InputTag(*tag) for tag in tags])]


def test_the_data_set_is_that_of_mlflow(ours, theirs):
    for side in (ours, theirs):
        side.client.log_inputs(side.runs[0], sources("digits", ("mlflow.data.context", "training")))
    for tags in ([("mlflow.data.context", "training"), ("split", "a")], [("other", "b")], []):
        datasets = sources("digits", *tags)
        assert bulk.log_inputs(bulk.store(ours.client), ours.runs[1], datasets)
        theirs.client.log_inputs(theirs.runs[1], datasets)
        said = [
            repr(run.inputs.to_dictionary())
            for side in (ours, theirs)
            for run in map(side.client.get_run, side.runs)
        ]
        assert said[:2] == said[2:]
        assert "split" in said[1]
        assert "other" not in said[1]  # a run that has it keeps its tags, as in MLflow
    with closing(ours.open()) as database:
        asked = "SELECT source_type, destination_type, step FROM inputs WHERE destination_id = ?"
        assert database.execute(asked, ours.runs[1:]).fetchall() == [("DATASET", "RUN", 0)]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_data_set_that_is_new_in_its_experiment_is_made_by_mlflow(ours, elsewhere):
    datasets, run_id = sources("of my own" if elsewhere else "new"), ours.runs[0]
    if elsewhere:
        experiment = ours.client.create_experiment("another")
        other = ours.client.create_run(experiment).info.run_id
        ours.client.log_inputs(other, datasets)
    assert not bulk.log_inputs(bulk.store(ours.client), run_id, datasets)
    ours.quick.log_inputs(run_id, datasets)
    (found,) = ours.client.get_run(run_id).inputs.dataset_inputs
    assert found.dataset.name == datasets[0].dataset.name
    assert bulk.log_inputs(bulk.store(ours.client), ours.runs[1], datasets)


def info(side):
    return lambda run_id: side.client.get_run(run_id).info


def test_what_is_written_together_is_there_at_its_end(ours, theirs):
    quick = ours.quick
    with bulk.together(ours.client):
        for side, client in ((ours, quick), (theirs, theirs.client)):
            for run_id, value in zip(side.runs, (1.0, 2.0), strict=True):
                client.log_batch(
                    run_id, metrics=[Metric("a", value, 0, 0)], params=[Param("p", "v")]
                )
                client.set_terminated(run_id, "FINISHED", 1234)
        assert ours.rows("metrics") == ours.rows("params") == []
        assert not bulk.is_committed(bulk.store(ours.client))
    assert rows_of(ours) == rows_of(theirs)
    assert [info(ours)(run_id).status for run_id in ours.runs] == ["FINISHED"] * 2
    assert bulk.is_committed(bulk.store(ours.client))


def test_what_mlflow_refuses_of_a_batch_leaves_the_rest(ours):
    first, second = ours.runs
    point = Metric("a", 1.0, 0, 0)
    with bulk.together(ours.client):
        ours.quick.log_batch(first, metrics=[point], params=[Param("epochs", "3")])
        with pytest.raises(MlflowException, match="Changing param values"):
            ours.quick.log_batch(
                first, metrics=[Metric("b", 1.0, 0, 0)], params=[Param("epochs", "4")]
            )
        ours.quick.log_batch(second, metrics=[point])
    assert [row[0] for row in ours.rows("metrics")] == ["a", "a"]
    assert ours.client.get_run(first).data.params == {"epochs": "3"}


def test_mlflow_sees_what_was_written_before_it_is_asked(ours):
    with bulk.together(ours.client):
        ours.quick.log_batch(ours.runs[0], metrics=[Metric("a", 1.0, 0, 0)])
        assert ours.quick.get_run(ours.runs[0]).data.metrics == {"a": 1.0}
        ours.quick.set_tag(ours.runs[0], "host", "h")  # which only MLflow writes
        ours.quick.log_batch(ours.runs[0], metrics=[Metric("b", 1.0, 0, 0)])
    found = ours.client.get_run(ours.runs[0]).data
    assert (found.metrics, found.tags["host"]) == ({"a": 1.0, "b": 1.0}, "h")


def test_a_run_deleted_within_a_batch_takes_nothing_more(ours):
    run_id, point = ours.runs[0], [Metric("a", 1.0, 0, 0)]
    with bulk.together(ours.client):
        ours.quick.log_batch(run_id, metrics=point)
        ours.quick.delete_run(run_id)
        with pytest.raises(MlflowException, match="must be in the 'active' state"):
            ours.quick.set_terminated(run_id, "FINISHED", 5)
        ours.quick.log_batch(ours.runs[1], metrics=point)
    assert len(ours.rows("metrics")) == 2
    assert info(ours)(run_id).status == "RUNNING"


class Stopped(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("moment", ["in it", "at its end"])
def test_a_process_that_ends_before_a_batch_does_leaves_no_cursor_of_it(
    ours, begin, monkeypatch, assert_each_once, moment
):
    settings = {"uri": ours.uri, "experiment": "dlrun"}
    runs = [begin(3, f"run {number}") for number in range(2)]
    for run in runs:
        cursor.settle(run.directory, settings, since=0.0)
        run.set_status(record.FINISHED)

    def deliver():
        with bulk.together(ours.client):
            for run in runs:
                Delivery(ours.client, ours.experiment, run.directory).deliver(live=False)
            if moment == "in it":
                stop()

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", stop)
        with pytest.raises(Stopped):
            deliver()
    for run in runs:
        assert cursor.missing(run.directory, settings) == "3 points"
        delivery = Delivery(ours.client, ours.experiment, run.directory)
        delivery.deliver(live=False)
        assert_each_once(ours.uri, run, delivery.run_id)
        assert cursor.missing(run.directory, settings) == ""


def stop(*_):
    raise Stopped


def test_a_batch_that_the_disk_refuses_is_taken_back(ours, monkeypatch):
    def full(*_):
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    point = [Metric("a", 1.0, 0, 0)]

    def write_all():
        with bulk.together(ours.client):
            ours.quick.log_batch(ours.runs[0], metrics=point)
            with monkeypatch.context() as patch, suppress(OperationalError):
                patch.setattr(bulk, "_add", full)
                ours.quick.log_batch(ours.runs[1], metrics=point)
            with suppress(OperationalError):  # what comes after it is not written alone
                ours.quick.log_batch(ours.runs[1], metrics=point)

    with pytest.raises(OperationalError, match="disk is full"):
        write_all()
    assert ours.rows("metrics") == []
    ours.quick.log_batch(ours.runs[0], metrics=point)
    assert len(ours.rows("metrics")) == 1


def test_it_waits_for_another_writer(ours):
    with closing(ours.open()) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE runs SET name = 'another' WHERE run_uuid = ?", ours.runs[:1])

        def commit():
            sleep(0.3)
            other.execute("COMMIT")

        thread = threading.Thread(target=commit)
        thread.start()
        write(ours, ours.runs[0], metrics=[Metric("a", 1.0, 0, 0)])
        thread.join()
    assert info(ours)(ours.runs[0]).run_name == "another"
    assert len(ours.rows("metrics")) == 1


def test_a_delivery_does_not_ask_mlflow_to_write_what_is_many(
    ours, begin, monkeypatch, assert_each_once
):
    ours.client.log_inputs(ours.runs[0], sources("digits"))
    run = begin(700, data={"name": "digits", "digest": "abc"})
    run.set_status(record.FINISHED)

    def slow(*all, **more):
        raise AssertionError("MLflow was asked")

    for name in ("create_run", "log_batch", "log_inputs", "update_run_info"):
        monkeypatch.setattr(SqlAlchemyStore, name, slow)
    delivery = Delivery(ours.client, ours.experiment, run.directory)
    delivery.deliver(live=False)
    assert_each_once(ours.uri, run, delivery.run_id)
    assert info(ours)(delivery.run_id).status == "FINISHED"


def _other_columns(monkeypatch):
    table = models.SqlLatestMetric.__table__.to_metadata(models.sa.MetaData())
    table.append_column(models.Column("worker", models.String(32)))
    monkeypatch.setattr(models.SqlLatestMetric, "__table__", table)


def _another_key(monkeypatch):
    metadata = models.sa.MetaData()
    columns = [models.Column(name, models.String) for name in ("key", "value", "run_uuid")]
    columns[1].primary_key = True
    monkeypatch.setattr(models.SqlTag, "__table__", models.sa.Table("tags", metadata, *columns))


def _no_such_table(monkeypatch):
    monkeypatch.delattr(models, "SqlParam")


def _no_such_module(monkeypatch):
    monkeypatch.setattr(bulk, "models", None)


def _another_store(monkeypatch):
    class Workspaces(SqlAlchemyStore):
        pass

    monkeypatch.setattr(bulk, "SqlAlchemyStore", Workspaces)


@pytest.mark.parametrize(
    "change", [_other_columns, _another_key, _no_such_table, _no_such_module, _another_store]
)
def test_a_release_that_keeps_other_rows_writes_them_itself(
    ours, begin, monkeypatch, change, assert_each_once
):
    assert bulk.store(ours.client) is not None
    with monkeypatch.context() as patch:
        change(patch)
        assert bulk.store(ours.client) is None
        run = begin(3)
        run.set_status(record.FINISHED)
        delivery = Delivery(ours.client, ours.experiment, run.directory)
        if change is not _no_such_table:  # which MLflow itself would miss
            delivery.deliver(live=False)
            assert_each_once(ours.uri, run, delivery.run_id)


def test_another_store_is_asked_as_before(ours):
    inner = ours.client._tracking_client
    assert bulk.store(SimpleNamespace(tracking_uri=ours.uri, _tracking_client=inner)) is not None
    for uri in ("http://127.0.0.1:9", "postgresql://nobody@127.0.0.1:9/none"):
        assert bulk.store(SimpleNamespace(tracking_uri=uri, _tracking_client=inner)) is None
    assert bulk.store(MlflowClient("http://127.0.0.1:9")) is None
