"""Cross-validation: its folds, what it measures on them, and what it says of that."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error

from dlrun import record
from dlrun.__main__ import main
from dlrun.data.digits import digits
from dlrun.engine import checkpoint
from dlrun.procedure.cross_validate import deal
from tests.job.test_lab import assert_as_never_killed, children, parent, typed

COMMON = ("tracking=none", "threads=1", "epochs='30 steps'", "validate_every='10 steps'")
WORDS = (*COMMON, "procedure=cross_validate", "procedure.folds=3")
ENOUGH = ("procedure.folds=2", "procedure.val=20%")
pytestmark = pytest.mark.usefixtures("here")


def rows_of(run):
    with np.load(run / "rows.npz") as file:
        return dict(file)


def predictions(run):
    with np.load(run / "predictions.npz") as file:
        return dict(file)


def last(run):
    return record.read_points(run)[-1]["values"]


@pytest.mark.proof
@pytest.mark.proves("procedure=cross_validate")
def test_mean_error_and_predictions_are_those_of_the_folds(capsys):
    assert main([*WORDS, "procedure.repeats=2"]) == 0
    runs, [own] = children(), parent()
    assert len(runs) == 6
    values = [last(run)["held_out/accuracy"] for run in runs]
    info = record.read_json(own / "run.json")
    assert info["value"] == pytest.approx(np.mean(values), rel=1e-12)
    epochs = [f"{last(run)['best/epoch']:.4g}" for run in runs]
    assert [row["at epoch"] for row in info["table"]] == epochs
    error = np.std(values, ddof=1) / np.sqrt(6)
    [point] = record.read_points(own)
    assert point["values"] == {
        "held_out/accuracy": info["value"],
        "held_out/accuracy_stderr": pytest.approx(error, rel=1e-12),
    }
    said = capsys.readouterr().out
    assert (
        f"{info['value']:.4g} ± {error:#.2g} (mean ± standard error over 3 folds, 2 times)" in said
    )

    y, kept = digits().y.numpy(), predictions(own)
    for repeat in (1, 2):
        of = {name: some[kept["repeat"] == repeat] for name, some in kept.items()}
        assert len(set(of["row"])) == len(of["row"]) == 1438, "each row of train and val, once"
        assert np.array_equal(of["y"], y[of["row"]])
        assert of["output"].sum(1) == pytest.approx(np.ones(1438)), "probabilities"
        for fold in (1, 2, 3):
            answers = of["output"][of["fold"] == fold].argmax(1)
            found = accuracy_score(of["y"][of["fold"] == fold], answers)
            assert found == pytest.approx(values[3 * (repeat - 1) + fold - 1], abs=1e-12)
    assert not any(name.startswith("test/") for run in (*runs, own) for name in last(run))


@pytest.mark.proves("procedure=cross_validate")
def test_a_fold_is_a_command_on_a_file_of_its_rows(here):
    recipe = (*COMMON, "regularization=[early_stopping,dropout]", "optimizer=adam")
    assert main([*recipe, *WORDS[-2:]]) == 0
    source = digits()
    for number, run in enumerate(children()):
        rows = rows_of(run)
        assert set(rows) == {"train", "val", "held_out"}
        arrays = {}
        for split, name in (("train", "train"), ("val", "val"), ("test", "held_out")):
            some = rows[name]
            arrays |= {f"x_{split}": source.x[some].numpy(), f"y_{split}": source.y[some].numpy()}
        np.savez(here / "fold.npz", **arrays)
        words = ["data=arrays", "data.path=fold.npz", f"outputs=alone{number}"]
        assert main([*recipe, *words]) == 0
        alone = record.find(f"alone{number}", "last")
        one, other = (checkpoint.read(each / "checkpoints/best.pt") for each in (run, alone))
        assert all((one[name] == other[name]).all() for name in one)
        measured = {name: value for name, value in last(run).items() if "/" in name}
        assert measured["held_out/accuracy"] == last(alone)["test/accuracy"]
        assert measured["held_out/loss"] == last(alone)["test/loss"]


def test_it_says_how_many_rows_thinning_leaves_to_be_dealt_out(capsys):
    assert main([*WORDS, "data.samples=100"]) == 0
    assert "; data.samples=100 leaves 460 rows of train and val" in capsys.readouterr().out


def test_folds_train_on_equally_many_rows_where_val_is_a_share():
    y = np.arange(98) % 3
    for folds in (3, 5, 10):
        dealt = list(deal(np.arange(98), y, folds, 2, "10%", 0))
        [many] = {len(fold.rows["train"]) for fold in dealt}
        fewest = 98 - max(len(fold.rows["held_out"]) for fold in dealt)
        assert many == fewest - round(fewest / 10)
    assert {len(fold.rows["val"]) for fold in deal(np.arange(98), y, 5, 1, 7, 0)} == {7}


def test_folds_share_no_row_with_what_trains_and_chooses():
    y = np.repeat(np.arange(4), [30, 50, 20, 100])
    rows, groups = np.arange(10, 190), np.arange(200) // 4
    for of in (None, groups):
        dealt = list(deal(rows, y, 5, 2, "10%", 0, of))
        assert [(fold.repeat, fold.number) for fold in dealt] == [
            (repeat, number) for repeat in (0, 1) for number in range(5)
        ]
        for fold in dealt:
            together = np.concatenate(list(fold.rows.values()))
            assert sorted(together) == sorted(rows), "all of them, each in one part"
            if of is not None:
                found = [set(of[some]) for some in fold.rows.values()]
                assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
        firsts = [dealt[place].rows["held_out"].tolist() for place in (0, 5)]
        assert firsts[0] != firsts[1], "each repeat has its own folds"


def test_regression_is_in_the_units_of_the_data(here):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 3)).astype(np.float32)
    y = (1000 + 50 * x @ [1.0, 2.0, -1.0] + generator.normal(size=120)).astype(np.float32)
    np.savez(here / "numbers.npz", x=x, y=y)
    words = ("data=arrays", "data.path=numbers.npz", "data.task=regression", "loss=mse")
    assert main([*WORDS, *words, "batch_size=8"]) == 0
    [own] = parent()
    kept, [point] = predictions(own), record.read_points(own)
    assert set(point["values"]) == {"held_out/loss", "held_out/loss_stderr"}, "what is monitored"
    assert kept["y"][:, 0] == pytest.approx(y[kept["row"]], rel=1e-6)
    for number, run in enumerate(children(), 1):
        of = kept["fold"] == number
        found = mean_absolute_error(kept["y"][of], kept["output"][of])
        assert found == pytest.approx(last(run)["held_out/mae"], rel=1e-5)


def test_a_group_is_in_one_fold_and_not_in_its_val(here):
    generator = np.random.default_rng(0)
    lines = [
        f"{a:.3f},{b:.3f},{'yes' if a + b > 0 else 'no'},patient{number % 30}"
        for number, (a, b) in enumerate(generator.normal(size=(150, 2)))
    ]
    (here / "table.csv").write_text("\n".join(["a,b,ill,who", *lines]) + "\n")
    words = ("data=arrays", "data.path=table.csv", "data.target=ill", "data.group=who")
    assert main([*WORDS, *words]) == 0
    for run in children():
        who = [{row % 30 for row in rows} for rows in rows_of(run).values()]
        assert sum(map(len, who)) == len(set.union(*who))


@pytest.mark.proof
def test_killed_in_a_fold_and_typed_again_it_is_as_if_never_killed():
    words = [*COMMON, "procedure=cross_validate", "procedure.folds=3", "optimizer=adam"]
    words += ["checkpoint_every='7 steps'", "regularization=[dropout]"]
    assert main([*words, "outputs=whole"]) == 0
    dying = [*words, "procedure._target_=tests.procedure.dying.cross_validate"]
    typed(dying, code=-9)
    assert [record.read_status(run)["status"] for run in children()] == ["FINISHED", "RUNNING"]
    typed(dying, SPARED="1")
    assert_as_never_killed()
    kept, whole = predictions(parent()[0]), predictions(parent("whole")[0])
    assert all(np.array_equal(kept[name], whole[name]) for name in whole)
    assert last(parent()[0]) == last(parent("whole")[0])


def test_a_sweep_judges_by_the_mean_and_trains_nothing_twice(capsys):
    words = ["-m", *COMMON, "procedure=cross_validate", *ENOUGH, "optimizer.lr=0.001,0.1"]
    assert main(words) == 0
    values = [record.read_json(run / "run.json")["value"] for run in parent()]
    assert values[1] > values[0]
    said = capsys.readouterr()
    assert f"{values[1]:.4f}" in said.out
    assert "lost its checkpoints" not in said.err
    before = record.all_runs("outputs")
    assert main(words) == 0
    assert record.all_runs("outputs") == before


def findings_of(here, x, y, *words):
    np.savez(here / "set.npz", x=x.astype(np.float32), y=y)
    assert (
        main([*COMMON, "procedure=cross_validate", "data=arrays", "data.path=set.npz", *words]) == 0
    )
    return record.read_json(parent()[-1] / "run.json")["findings"]


@pytest.mark.proof
def test_it_says_where_nothing_is_learned(here):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(400, 5)), (generator.random(400) < 0.3).astype(np.int64)
    words = ("optimizer=adam", "optimizer.lr=0.03", "epochs='200 steps'", "monitor=val/loss")
    [found] = findings_of(here, x, y, *words, "procedure.folds=8", "validate_every='200 steps'")
    assert (found["name"], found["level"]) == ("simpler_would_do", "warn")
    assert found["numbers"]["gain"] < -2 * found["numbers"]["standard_error"]


def test_it_says_where_the_network_always_names_the_most_frequent_class(here):
    x, y = np.random.default_rng(0).normal(size=(60, 4)), (np.arange(60) % 20 == 0).astype(np.int64)
    [found] = findings_of(here, x, y, "procedure.folds=3", "optimizer.lr=0", "initializer=zeros")
    assert (found["name"], found["level"]) == ("simpler_would_do", "warn")
    assert "right exactly where the most frequent class would be" in found["text"]


def test_it_says_where_the_set_is_too_small_to_tell(here):
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(60, 5)), np.arange(60) % 2
    [found] = findings_of(here, x, y, "procedure.folds=3")
    assert (found["name"], found["level"]) == ("inconclusive", "note")
    assert "samples would be enough, there are 54 now" in found["text"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("procedure.folds=1", "procedure.folds=1: must be from 2 to 1,438, as many as samples"),
        ("procedure.folds=5000", "procedure.folds=5000: must be from 2 to 1,438"),
        ("procedure.folds=many", "procedure.folds=many: "),
        ("procedure.repeats=0", "procedure.repeats=0: must be at least 1"),
        ("procedure.val=0", "procedure.val=0: must be a whole number above 0, such as 100, or a"),
        ("procedure.val=0.1", "did you mean 10%?"),
        ("procedure.val=100%", "procedure.val=100%: must leave samples for training"),
        ("procedure.val=1e9", "procedure.val=1000000000.0: must be at most"),
        ("procedure.fold=5", "did you mean procedure.folds=5?"),
        ("folds=5", "did you mean procedure.folds=5?"),
    ],
)
def test_mistakes_leave_nothing_behind(words, said, capsys, here):
    assert main(["tracking=none", "procedure=cross_validate", *words.split()]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.glob("outputs/runs/*"))
