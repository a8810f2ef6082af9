"""One run into a real database: created once, each point once, whatever happens between."""

import errno
import json
import math
import os
from time import time

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from dlrun import record
from dlrun.tracking import artifacts, cursor, entries, store
from dlrun.tracking.delivery import Delivery


@pytest.fixture
def deliver(database):
    """A new delivery of a run, as a process that has just started makes it."""
    client, experiment = store.connect(database, "dlrun")
    return lambda run: Delivery(client, experiment, run.directory)


def whole(delivery):
    delivery.begin(live=False)
    delivery.points()
    delivery.finish()
    return delivery.run_id


@pytest.mark.proves("tracking=mlflow")
def test_a_run_arrives_with_all_that_is_known_of_it(begin, deliver, database, assert_each_once):
    run = begin(3, "adam", data={"name": "digits", "digest": "abc"}, choices={"optimizer": "sgd"})
    run.set_status(record.FINISHED)
    run_id = whole(deliver(run))
    found = MlflowClient(database).get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "adam"
    assert found.data.params["model.hidden"] == "[50,20]"
    assert found.data.params["optimizer"] == "sgd"
    assert found.data.params["optimizer._target_"] == "torch.optim.SGD"
    assert found.data.tags["dlrun.id"] == run.id
    assert found.data.tags["versions.torch"]
    (data,) = found.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "abc")
    assert_each_once(database, run, run_id)
    assert record.read_json(run.directory / "tracking.json")["done"]


def test_a_run_is_called_as_its_record_unless_the_user_has_renamed_it(begin, deliver, database):
    client, run = MlflowClient(database), begin(1, "epochs=2")
    run_id = whole(deliver(run))
    run.update(name="epochs=5")
    assert whole(deliver(run)) == run_id
    assert client.get_run(run_id).info.run_name == "epochs=5"
    client.update_run(run_id, name="my best")
    assert whole(deliver(run)) == run_id
    assert client.get_run(run_id).info.run_name == "my best"


def test_the_headline_metric_is_logged_first(begin, deliver, database):
    run = begin(2)  # each point has train/loss first
    run.set_status(record.FINISHED)
    run_id = whole(deliver(run))
    assert next(iter(MlflowClient(database).get_run(run_id).data.metrics)) == "val/accuracy"


def test_a_run_ended_when_its_record_did_not_when_it_was_delivered(begin, deliver, database):
    run = begin(1)
    run.set_status(record.FINISHED)
    for path in run.directory.iterdir():
        os.utime(path, (2_000_000_000, 2_000_000_000))
    run_id = whole(deliver(run))
    assert MlflowClient(database).get_run(run_id).info.end_time == 2_000_000_000_000


def test_values_that_are_no_numbers_arrive_too(begin, deliver, database, history):
    run = begin()
    run.append(0, 0.0, {"val/loss": math.nan, "acc@1": math.inf})
    run.set_status(record.FAILED, "the loss is nan")
    run_id = whole(deliver(run))
    ((_, loss),) = history(database, run_id, "val/loss")
    assert math.isnan(loss)
    assert history(database, run_id, "acc_1")[0][1] > 1e308
    found = MlflowClient(database).get_run(run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags["dlrun.message"] == "the loss is nan"


def test_params_without_end_are_no_error(begin, deliver, database):
    many = json.dumps({f"k{i}": "v" * 7000 for i in range(250)} | {"odd@key": 1})
    run = begin(1, recipe=many)
    run_id = whole(deliver(run))
    params = MlflowClient(database).get_run(run_id).data.params
    assert len(params) == 251
    assert params["k249"].endswith("…")
    assert params["odd_key"] == "1"


def test_more_points_than_one_request_takes(begin, deliver, database, assert_each_once):
    run = begin(1200)
    assert_each_once(database, run, whole(deliver(run)))


def test_files_arrive_and_only_changed_ones_again(begin, deliver, database):
    run = begin(1)
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "figures/loss.png"):
        path = run.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    run.set_status(record.FINISHED)
    delivery = deliver(run)
    run_id = whole(delivery)
    client = MlflowClient(database)
    found = {file.path for file in client.list_artifacts(run_id)}
    assert found >= {"recipe.yaml", "checkpoints", "figures", "status.json"}
    assert len(client.list_artifacts(run_id, "checkpoints")) == 2
    (run.directory / "checkpoints/last.pt").write_text("22")
    sent = []
    again = deliver(run)
    again._send = lambda path, folder: sent.append((folder, path.name))
    whole(again)
    assert sent == [("checkpoints", "last.pt")]


def test_a_file_arrives_as_it_is_or_not_at_all(tmp_path, monkeypatch):
    path, to = tmp_path / "last.pt", artifacts.folder((tmp_path / "artifacts").as_uri())
    path.write_text("old")
    path.chmod(0o640)
    os.utime(path, (1_000, 1_000))
    artifacts.copy(path, to / "checkpoints")
    (there,) = (to / "checkpoints").iterdir()
    assert (there.name, there.read_text()) == ("last.pt", "old")
    assert (there.stat().st_mode & 0o777, there.stat().st_mtime) == (0o640, 1_000)
    path.write_text("new")

    def full(source, target):
        target.write_text("n")
        assert LocalArtifactRepository(str(to)).list_artifacts("checkpoints")[1:] == []
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copy2", full)
    with pytest.raises(OSError, match="No space"):
        artifacts.copy(path, to / "checkpoints")
    assert [each.read_text() for each in (to / "checkpoints").iterdir()] == ["old"]


def test_files_that_go_to_a_server_are_not_copied():
    assert artifacts.folder("http://127.0.0.1:9/1/2/artifacts") is None


def test_a_second_start_continues_the_same_run(begin, deliver, database, add, assert_each_once):
    run = begin(5)
    first = deliver(run)
    first.begin(live=True)
    first.points()
    add(run, 5, 8)
    run.set_status(record.FINISHED)
    second = deliver(run)
    assert whole(second) == first.run_id
    assert second.new_points == 3
    assert_each_once(database, run, first.run_id)


@pytest.mark.parametrize("left", ["kept", "old", "torn", "lost"])
def test_killed_between_the_request_and_the_cursor(
    begin, deliver, database, left, assert_each_once
):
    run = begin(3)
    first = deliver(run)
    first.begin(live=True)
    path = run.directory / "tracking.json"
    before = path.read_text()
    first.points()
    if left == "old":
        path.write_text(before)
    elif left == "torn":
        path.write_text(before[: len(before) // 2])
    elif left == "lost":
        path.unlink()
    run.set_status(record.FINISHED)
    assert whole(deliver(run)) == first.run_id
    assert_each_once(database, run, first.run_id)


def test_a_request_that_arrives_although_it_fails(begin, deliver, database, add, assert_each_once):
    run = begin(1500)
    delivery = deliver(run)
    delivery.begin(live=True)
    client = delivery._client

    def fails_late(*all, **more):
        client.log_batch(*all, **more)
        raise MlflowException("timed out")

    delivery._client = _Spy(client, "log_batch", fails_late)
    with pytest.raises(MlflowException):
        delivery.points()
    sent = []

    def counts(run_id, metrics=(), **more):
        sent.extend((metric.key, metric.step) for metric in metrics)
        client.log_batch(run_id, metrics=metrics, **more)

    delivery._client = _Spy(client, "log_batch", counts)
    add(run, 1500, 1510)
    delivery.points()
    assert len(sent) == 2 * 1510 - 1000  # what has arrived is not even sent again
    assert_each_once(database, run, delivery.run_id)


def test_a_resumed_run_replays_without_doubling(begin, deliver, database, add, assert_each_once):
    run = begin(10)
    position = run.size
    add(run, 10, 20)
    first = deliver(run)
    first.begin(live=True)
    first.points()
    run.set_status(record.KILLED, "stopped by SIGINT")
    run_id = whole(deliver(run))
    run.truncate(position)
    run.set_status(record.RUNNING)
    second = deliver(run)
    second.begin(live=True)
    assert MlflowClient(database).get_run(run_id).info.status == "RUNNING"
    second.points()
    add(run, 10, 25)
    second.points()
    run.set_status(record.FINISHED)
    second.finish()
    assert second.run_id == run_id
    assert_each_once(database, run, run_id)
    found = MlflowClient(database).get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["dlrun.message"] == ""


@pytest.mark.parametrize("more", [0, 3, 7, 30])
def test_points_cut_off_and_replayed_while_they_are_delivered(
    begin, deliver, database, more, add, assert_each_once
):
    run = begin(5)
    position = run.size
    add(run, 5, 20)
    delivery = deliver(run)
    delivery.begin(live=True)
    delivery.points()
    run.truncate(position)
    add(run, 5, 5 + more)
    delivery.points()
    add(run, 5 + more, 40)
    delivery.points()
    assert_each_once(database, run, delivery.run_id)


@pytest.mark.parametrize("looks", [1, 50])
def test_other_points_in_the_place_of_those_cut_off(begin, deliver, database, looks, add, history):
    run = begin(5)
    position = run.size
    add(run, 5, 20)
    delivery = deliver(run)
    delivery.begin(live=True)
    delivery.points()
    run.truncate(position)
    for step in range(100, 150):  # longer lines: none begins where one began
        add(run, step, step + 1)
        if step % 50 >= 50 - looks:
            delivery.points()
            steps = [step for step, _ in history(database, delivery.run_id)]
            assert steps == [*range(20), *range(100, step + 1)]


@pytest.fixture
def resume(begin, deliver, add):
    """Deliver 20 points, cut them off, go on: the run, and where it was and is in MLflow."""

    def resume(keep, values, status=record.FINISHED):
        run = begin(keep)
        position = run.size
        add(run, keep, 20)
        run.set_status(record.KILLED)
        first = whole(deliver(run))
        run.truncate(position)
        for step, changes in values.items():
            run.append(step, step / 10, {"train/loss": 1 / (step + 1), **changes})
        run.set_status(status)
        return run, first, whole(deliver(run))

    return resume


def replay(start, stop):
    """The values that `add` gives from one step to another."""
    return {step: {"val/accuracy": step / 1000} for step in range(start, stop)}


@pytest.mark.parametrize("keep", [0, 5])
def test_nothing_new_is_sent_where_all_is_replayed(resume, database, keep, assert_each_once):
    run, first, then = resume(keep, replay(keep, 20))
    assert first == then
    assert_each_once(database, run, then)


def test_a_record_cut_to_nothing_is_not_delivered_twice(
    begin, deliver, database, add, assert_each_once
):
    """What is asked of the server does not depend on what the record has by then."""
    run = begin(20)
    run_id = whole(deliver(run))
    run.truncate(0)
    delivery = deliver(run)
    delivery.begin(live=True)
    delivery.points()
    add(run, 0, 20)
    delivery.points()
    assert delivery.run_id == run_id
    assert_each_once(database, run, run_id)


@pytest.mark.parametrize(
    "values",
    [
        replay(5, 10) | {10: {"val/accuracy": 0.9}} | replay(11, 30),  # another value
        replay(5, 15),  # the end is sooner
        {step: {"val/accuracy": step / 1000} for step in range(6, 30, 3)},  # other steps
    ],
)
def test_a_run_that_went_another_way_is_fresh_in_mlflow(
    resume, database, values, assert_each_once, history
):
    run, first, then = resume(5, values)
    client = MlflowClient(database)
    assert first != then
    assert record.read_json(run.directory / "tracking.json")["run_id"] == then
    expected = [(point["step"], point["values"]["val/accuracy"]) for point in run.points()]
    assert history(database, then) == expected
    found = client.get_run(then)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "a run"
    assert found.data.params["epochs"] == "3"
    assert found.data.metrics["val/accuracy"] == expected[-1][1]
    assert "recipe.yaml" in {file.path for file in client.list_artifacts(then)}
    left = client.get_run(first)
    assert (left.info.status, left.info.run_name) == ("KILLED", "a run (replaced)")
    assert "dlrun.replaced" in left.data.tags
    assert history(database, first)[:20] == [(step, step / 1000) for step in range(20)]


def test_a_killed_run_may_come_to_its_points_again(resume):
    run, first, then = resume(5, replay(5, 15), record.KILLED)
    assert first == then
    assert len(run.points()) == 15


def test_a_longer_run_keeps_the_test_of_its_earlier_end(begin, deliver, database, add, history):
    run = begin(10)
    position = run.size
    run.append(9, 0.9, {"test/accuracy": 0.5})
    run.set_status(record.FINISHED)
    first = whole(deliver(run))
    run.truncate(position)
    add(run, 10, 20)
    run.append(19, 1.9, {"test/accuracy": 0.6})
    assert whole(deliver(run)) == first
    assert history(database, first, "test/accuracy") == [(9, 0.5), (19, 0.6)]


def test_times_are_others_and_values_that_are_no_numbers_the_same(begin, deliver):
    run = begin()

    def append(seconds):
        values = {"val/loss": math.nan, "a": math.inf, "b": -math.inf, "c": 0.1 + 0.2}
        run.append(0, 0.0, values | {"time/epoch": seconds})

    append(1.0)
    first = whole(deliver(run))
    run.truncate(0)
    append(2.0)
    run.set_status(record.FINISHED)
    assert whole(deliver(run)) == first


@pytest.mark.parametrize("step", ["set_terminated", "set_tag", "create_run"])
def test_a_failure_on_the_way_to_a_fresh_run_leaves_one(begin, deliver, database, step, history):
    run = begin(20)
    first = whole(deliver(run))
    run.truncate(0)
    run.append(3, 0.3, {"train/loss": 0.25, "val/accuracy": 0.7})
    run.set_status(record.FINISHED)
    client, failing = deliver(run)._client, [True]

    def fails_late(*all, **more):
        getattr(client, step)(*all, **more)
        failing.pop()
        raise MlflowException("timed out")

    delivery = deliver(run)
    delivery._client = _Spy(client, step, fails_late)
    delivery.begin(live=True)
    with pytest.raises(MlflowException):
        delivery.points()
    then = whole(deliver(run))
    assert not failing
    assert then != first
    experiment = client.get_run(then).info.experiment_id
    same = client.search_runs([experiment], f"tags.`dlrun.uid` = '{run.info['uid']}'")
    assert {each.info.run_id for each in same} == {first, then}
    assert history(database, then) == [(3, 0.7)]


def test_a_changed_param_of_a_resumed_run_becomes_a_tag(begin, deliver, database, recipe):
    run = begin(1)
    run_id = whole(deliver(run))
    record.write(run.directory / "recipe.yaml", recipe.replace("epochs: 3", "epochs: 40\nnew: 1"))
    assert whole(deliver(run)) == run_id
    found = MlflowClient(database).get_run(run_id)
    assert found.data.params["epochs"] == "3"
    assert found.data.params["new"] == "1"
    assert found.data.tags["resumed.epochs"] == "40"


def test_a_recipe_that_stays_is_taken_apart_once(begin, database, monkeypatch):
    client, experiment = store.connect(database, "dlrun")
    asked, real = [], entries.params
    monkeypatch.setattr(entries, "params", lambda *a: asked.append(a) or real(*a))
    run = begin(1)
    delivery = Delivery(client, experiment, run.directory)
    for changed in ({}, {"found": 1}, {"choices": {"optimizer": "adam"}}):
        run.update(**changed)
        delivery.deliver(live=True)
    assert len(asked) == 2  # choices are params too
    assert client.get_run(delivery.run_id).data.params["optimizer"] == "adam"


def test_one_process_at_a_time_delivers_a_run(begin):
    run = begin(1)
    first = cursor.hold(run.directory)
    assert cursor.hold(run.directory) is None
    first.release()
    second = cursor.hold(run.directory)
    second.release()


def test_the_cursor_is_written_over_whether_it_grows_or_shrinks(begin, database):
    run = begin(1)
    path = run.directory / cursor.NAME
    cursor.keep(run.directory, run_id="f00d")  # where there was none
    there = path.stat().st_ino
    for files in ({f"{n}.pt": [1, 2] for n in range(50)}, {}, {"best.pt": [3, 4]}):
        cursor.keep(run.directory, files=files)
        assert cursor.read(run.directory) == {"run_id": "f00d", "files": files}
    assert path.stat().st_ino == there


@pytest.fixture
def new(begin, database):
    """A run that has just begun, as the process that follows it is told of it."""
    run = begin(3)
    settings = {"uri": database, "experiment": "dlrun"}
    cursor.settle(run.directory, settings, since=0.0)
    return run


def test_a_new_run_takes_few_requests(new, deliver, assert_each_once, database):
    delivery, asked = deliver(new), []

    class Counting:
        def __init__(self, client):
            self._client = client

        def __getattr__(self, name):
            asked.append(name)
            return getattr(self._client, name)

    delivery._client = Counting(delivery._client)
    new.set_status(record.FINISHED)
    run_id = whole(delivery)
    assert_each_once(database, new, run_id)
    assert asked == ["create_run", "log_batch", "log_batch", "set_terminated"]


def test_a_new_run_whose_creation_nobody_heard_of_is_found(new, deliver, database):
    delivery = deliver(new)
    client = delivery._client

    def fails_late(*all, **more):
        client.create_run(*all, **more)
        raise MlflowException("timed out")

    delivery._client = _Spy(client, "create_run", fails_late)
    with pytest.raises(MlflowException):
        delivery.begin(live=True)
    new.set_status(record.FINISHED)
    for again in (delivery, deliver(new)):  # the same process, and one after a kill
        again._client = client
        run_id = whole(again)
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`dlrun.uid` = '{new.info['uid']}'")
    assert [each.info.run_id for each in found] == [run_id]
    assert found[0].data.params["epochs"] == "3"


def test_only_a_run_that_began_after_its_follower_is_not_looked_for(begin, database):
    run, settings = begin(1), {"uri": database, "experiment": "dlrun"}
    for since in (math.inf, time() + 60):
        cursor.settle(run.directory, settings, since)
        assert "unasked" not in cursor.read(run.directory)
    cursor.settle(run.directory, settings, since=0.0)  # it has a cursor: somebody has followed it
    assert "unasked" not in cursor.read(run.directory)
    (run.directory / cursor.NAME).unlink()
    cursor.settle(run.directory, settings, since=0.0)
    assert cursor.read(run.directory)["unasked"]
    cursor.settle(run.directory, settings | {"experiment": "other"})
    assert "unasked" not in cursor.read(run.directory)


def test_params_that_somebody_else_has_added_meanwhile_are_taken_for_what_they_are(
    new, deliver, database, recipe
):
    delivery, client = deliver(new), MlflowClient(database)
    delivery.begin(live=True)
    client.log_param(delivery.run_id, "more", "theirs")
    record.write(new.directory / "recipe.yaml", recipe + "\nmore: ours\n")
    with pytest.raises(MlflowException):
        delivery.begin(live=True)
    delivery.begin(live=True)  # as it is tried again
    found = client.get_run(delivery.run_id).data
    assert (found.params["more"], found.tags["resumed.more"]) == ("theirs", "ours")


class _Spy:
    """A client of which one method does something else."""

    def __init__(self, client, name, method):
        self._client = client
        setattr(self, name, method)

    def __getattr__(self, name):
        return getattr(self._client, name)
