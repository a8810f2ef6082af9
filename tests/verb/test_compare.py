"""`dlrun compare` says what differs, what it changed, and whether it may be chance."""

import json

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.report.paired import mcnemar, paired
from dlrun.verb.compare import Told, _verdict
from tests.verb.conftest import SHORT, write_houses


@pytest.fixture(scope="module")
def others(home):
    """Ids of runs on digits: a smaller network, another rate too, and two seeds of that."""
    import os
    from pathlib import Path

    here = Path.cwd()
    os.chdir(home)
    try:
        for words in (["model.hidden=[4]"], ["model.hidden=[4]", "optimizer.lr=0.001"]):
            assert main([*words, *SHORT]) == 0
        assert main(["model.hidden=[4]", "optimizer.lr=0.001", "seed=1", *SHORT]) == 0
        return [each.name for each in record.all_runs("outputs")[-3:]]
    finally:
        os.chdir(here)


def compared(capsys, *words):
    capsys.readouterr()
    assert main(["compare", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_change(runs, others, capsys):
    small, slow = others[:2]
    found = compared(capsys, small, slow)
    assert [each["key"] for each in found["changes"]] == ["optimizer.lr"]
    assert main(["compare", small, slow]) == 0
    printed = capsys.readouterr().out
    assert "one change\n" in printed
    assert f"the curves: {found['curves'].split('/', 1)[0]}" in printed


def test_the_difference_is_that_of_the_samples(runs, others, capsys):
    first, second = (
        record.read_arrays(record.find("outputs", name) / record.VALIDATION) for name in others[:2]
    )
    [told] = compared(capsys, *others[:2])["differences"]
    right = [each["y"] == each["predicted"] for each in (first, second)]
    apart = right[1].astype(float) - right[0]
    assert told["difference"]["mean"] == pytest.approx(apart.mean())
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    assert told["difference"]["error"] == pytest.approx(error)
    alone = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert [told["first"], told["second"]] == alone
    assert told["chance"] == pytest.approx(mcnemar(*alone))


def test_of_the_same_answers_nothing_is_called_chance():
    right = np.array([1.0, 0.0, 1.0])
    told = Told("again", "val/accuracy", paired(right, right), True, 0, 0, 1.0)
    said = _verdict(told, better=True)
    assert said == "again: val/accuracy is the same on each of the same 3 samples"


def test_without_names_it_is_the_last_two(runs, others, capsys):
    found = compared(capsys)
    assert [each["ids"] for each in found["runs"]] == [[others[1]], [others[2]]]


def test_what_an_option_brings_is_no_change_and_what_is_typed_is_one(runs, capsys):
    words = ["outputs=apart", *SHORT]
    for more in (["seed=0"], ["seed=1"], ["optimizer=adam", "optimizer.lr=3e-3"], ["model=cnn"]):
        assert main([*words, *more]) == 0
    first, again, typed, other = (each.name for each in record.all_runs("apart"))
    found = compared(capsys, first, again, typed, "outputs=apart")
    assert [each["key"] for each in found["changes"]] == ["optimizer", "optimizer.lr"]
    assert found["runs"][0]["name"] == "default (2 seeds)"
    assert found["runs"][1]["results"]["last epoch"]
    assert "epochs" not in found["runs"][1]["results"], "that is the setting"
    found = compared(capsys, first, other, "outputs=apart")
    assert [each["key"] for each in found["changes"]] == ["model"]


def test_several_changes_are_counted(runs, others, capsys):
    assert main(["compare", runs["digits"].name, others[1]]) == 0
    assert "2 changes: which of them made the difference is not known" in capsys.readouterr().out


def test_seeds_of_one_recipe_are_one_column(runs, others, capsys):
    found = compared(capsys, others[0], others[1], others[2])
    assert [len(each["ids"]) for each in found["runs"]] == [1, 2]
    assert len(found["runs"][1]["results"]["val/accuracy"]) == 2
    found = compared(capsys, others[1], others[2])
    assert [len(each["ids"]) for each in found["runs"]] == [1, 1]
    assert [each["key"] for each in found["changes"]] == ["seed"]


def test_the_time_of_a_stack_is_called_so(runs, others, capsys, monkeypatch, tmp_path):
    assert main(["compare", *others[:2]]) == 0
    assert "at once" not in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    sweep = ["-m", "optimizer.lr=0.1,0.2", "sweep.stack=2", *SHORT]
    assert main(sweep) == 0
    names = [each.name for each in record.all_runs("outputs")]
    capsys.readouterr()
    assert main(["compare", *names]) == 0
    both = "optimizer.lr=0.1, optimizer.lr=0.2"
    line = f"seconds: {both} trained at once with others, all in this time"
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.proof
def test_without_what_training_has_kept_the_model_is_asked(runs, others, capsys):
    kept = compared(capsys, *others[:2])
    for name in others[:2]:
        (record.find("outputs", name) / record.VALIDATION).unlink()
    assert compared(capsys, *others[:2])["differences"] == kept["differences"]


def test_where_no_figure_can_be_written_all_else_is_said(
    runs, others, tmp_path, monkeypatch, capsys
):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "runs").symlink_to(runs["digits"].parent.absolute())
    (tmp_path / "outputs" / "compared").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *others[:2]]) == 0
    printed = capsys.readouterr()
    assert "one change\n" in printed.out
    assert "the curves" not in printed.out
    assert printed.err.startswith("warning: the curves are not drawn: cannot write outputs/compar")
    assert compared(capsys, *others[:2])["curves"] is None


def test_the_test_split_is_measured_then(runs, others, capsys):
    before = record.read_json(record.find("outputs", others[0]) / "run.json")["test_measured"]
    assert main(["compare", "--json", *others[:2], "split=test"]) == 0
    printed = capsys.readouterr()
    assert "recipes have been measured on this test split" in printed.err
    [told] = json.loads(printed.out)["differences"]
    assert told["metric"] == "test/accuracy"
    values = [
        record.last_values(record.read_points(record.find("outputs", name)))["test/accuracy"]
        for name in others[:2]
    ]
    assert told["difference"]["mean"] == pytest.approx(values[1] - values[0])
    after = record.read_json(record.find("outputs", others[0]) / "run.json")["test_measured"]
    assert len(after) == len(before) + 1


def test_runs_on_other_data(runs, others, capsys):
    for name in ("photos", "prices"):
        assert compared(capsys, runs["digits"].name, runs[name].name)["differences"] == [None]
    assert main(["compare", runs["digits"].name, runs["photos"].name]) == 0
    said = capsys.readouterr().out
    assert "photos: cannot be compared with the first: it was trained on photos (2 cl" in said
    assert "the first on digits (10 classes)" in said
    assert "standard errors" not in said


def trained(*words):
    assert main([*words, *SHORT]) == 0
    return record.find("outputs", "last").name


def test_other_content_under_the_same_name_is_other_data(runs, capsys, here):
    ids = []
    for seed in (0, 1):
        write_houses("houses.csv", 60, seed=seed)
        ids.append(trained("data=arrays", "data.path=houses.csv", "data.target=price"))
    assert compared(capsys, *ids)["differences"] == [None]
    assert main(["compare", *ids]) == 0
    assert "its data, houses, are not those of the first" in capsys.readouterr().out


def test_the_same_samples_seen_otherwise_are_compared_one_by_one(capsys, here):
    write_houses("houses.csv", 60)
    words = ("data=arrays", "data.path=houses.csv", "data.target=price")
    ids = [trained(*words, f"data.features={each}") for each in ("[rooms]", "[rooms,area]")]
    ids.append(trained(*words, "data.split_seed=1"))
    told = compared(capsys, *ids)["differences"]
    assert told[0]["paired"]
    assert told[1] is None or not told[1]["paired"]


def test_other_splits_of_the_same_data_are_compared_without_pairs(capsys, here):
    write_houses("houses.csv", 60)
    words = ("data=arrays", "data.path=houses.csv", "data.target=price")
    [told] = compared(capsys, trained(*words), trained(*words, "data.split_seed=1"))["differences"]
    assert not told["paired"]


def test_a_long_name_is_cut_in_the_head_of_its_column(capsys, here):
    long = ["model.hidden=[8,8,8]", "optimizer.lr=0.001", "batch_size=33", "clip_norm=1"]
    ids = [trained(f"name={'x' * 99}"), trained(*long, "schedule=constant")]
    names = [each["name"] for each in compared(capsys, *ids)["runs"]]
    assert names == [f"{'x' * 20}…{'x' * 14}", "model.hidden=[8,8,8] optimizer.lr=0.001 and 4 more"]


def test_one_run_alone_has_nothing_to_be_compared_with(here, capsys):
    for there in ("are none", "is 1"):
        assert main(["compare"]) == 2
        assert f"compare needs two runs; there {there} in outputs" in capsys.readouterr().err
        trained("model.hidden=[4]")


def test_mistakes(runs, capsys):
    last = record.find("outputs", "last")
    other = next(run.name for run in runs.values() if run != last)
    for words, said in (
        (["last"], "compare takes two runs or more, or none for the last two"),
        (["last", "last"], "compare last: is named twice"),
        (["last", "nosuch"], "no run 'nosuch'"),
        (["last", other, "split=tst"], "did you mean split=test?"),
    ):
        assert main(["compare", *words]) == 2
        assert said in capsys.readouterr().err
