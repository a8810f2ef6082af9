"""One run into a real database: created once, each point once, whatever happens between."""

import json
import math
import os

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dlrun import record
from dlrun.tracking import store
from dlrun.tracking.delivery import Delivery


@pytest.fixture
def deliver(database):
    """A new delivery of a run, as a process that has just started makes it."""
    client, experiment = store.connect(database, "dlrun")
    made = []

    def deliver(run):
        delivery = Delivery(client, experiment, run.directory, lambda patience: None)
        made.append(delivery)
        return delivery

    yield deliver
    for delivery in made:
        delivery.close()


def whole(delivery):
    assert delivery.begin(live=False)
    delivery.points()
    delivery.finish()
    delivery.close()
    return delivery.run_id


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
    again._client = _Spy(client, "log_artifact", lambda *all: sent.append(all[1]))
    whole(again)
    assert [path.rpartition("/")[2] for path in sent] == ["last.pt"]


def test_a_second_start_continues_the_same_run(begin, deliver, database, add, assert_each_once):
    run = begin(5)
    first = deliver(run)
    first.begin(live=True)
    first.points()
    first.close()
    add(run, 5, 8)
    run.set_status(record.FINISHED)
    second = deliver(run)
    assert whole(second) == first.run_id
    assert second.new_points == 3
    assert_each_once(database, run, first.run_id)


@pytest.mark.parametrize("cursor", ["kept", "old", "lost"])
def test_killed_between_the_request_and_the_cursor(
    begin, deliver, database, cursor, assert_each_once
):
    run = begin(3)
    first = deliver(run)
    first.begin(live=True)
    path = run.directory / "tracking.json"
    before = path.read_text()
    first.points()
    first.close()
    if cursor == "old":
        path.write_text(before)
    elif cursor == "lost":
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
    position = run.position()
    add(run, 10, 20)
    first = deliver(run)
    first.begin(live=True)
    first.points()
    first.close()
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
    position = run.position()
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
    position = run.position()
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


def test_a_changed_param_of_a_resumed_run_becomes_a_tag(begin, deliver, database, recipe):
    run = begin(1)
    run_id = whole(deliver(run))
    record.write(run.directory / "recipe.yaml", recipe.replace("epochs: 3", "epochs: 40\nnew: 1"))
    assert whole(deliver(run)) == run_id
    found = MlflowClient(database).get_run(run_id)
    assert found.data.params["epochs"] == "3"
    assert found.data.params["new"] == "1"
    assert found.data.tags["resumed.epochs"] == "40"


def test_one_process_at_a_time_delivers_a_run(begin, deliver):
    run = begin(1)
    first, second = deliver(run), deliver(run)
    assert first.begin(live=True)
    assert not second.begin(live=True)
    first.close()
    assert second.begin(live=True)
    assert second.run_id == first.run_id


class _Spy:
    """A client of which one method does something else."""

    def __init__(self, client, name, method):
        self._client = client
        setattr(self, name, method)

    def __getattr__(self, name):
        return getattr(self._client, name)
