"""A few samples must be memorized; the runs, what is taken off, and what validation says."""

import numpy as np
import pytest
import yaml

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import train as loop
from dlrun.job.session import Session
from dlrun.procedure.overfit import guessed, nested
from tests.conftest import in_suite, sparsely
from tests.states import timeless

COMMON = ("tracking=none", "threads=1", "procedure=overfit")


def told(outputs="outputs"):
    """What the procedure's record says, and the runs it has made."""
    runs = {run.name: record.read_json(run / "run.json") for run in record.all_runs(outputs)}
    [name] = [name for name, info in runs.items() if info.get("kind") == "procedure"]
    return runs[name], [record.find(outputs, run) for run in runs if run != name]


def recipe(run):
    return yaml.safe_load((run / "recipe.yaml").read_text())


@pytest.fixture
def numbers(here):
    """A regression whose targets are noise: to be memorized, and never to be predicted."""
    random = np.random.default_rng(1)
    x = random.normal(size=(120, 4)).astype("float32")
    np.savez("noise.npz", x=x, y=random.normal(size=(120, 1)).astype("float32"))
    return ["data=arrays", "data.path=noise.npz", "data.task=regression", "loss=mse"]


def arrays(file):
    with np.load(file) as stored:
        return dict(stored)


@pytest.mark.figures
@pytest.mark.proves("procedure=overfit")
def test_a_few_digits_are_memorized(here, capsys, digits):
    words = ["regularization=[dropout,batch_norm]", "regularization.batch_norm.momentum=0.2"]
    words += ["augmentation=[noise]", "optimizer.weight_decay=0.1", "schedule=step", "batch_size=8"]
    assert main([*COMMON, *words, "procedure.samples=[100,4,10,5000]"]) == 0
    shown = capsys.readouterr()
    assert "procedure.samples: 5,000 left out; there are 1,078 to train on" in shown.err
    assert len(shown.err.splitlines()) == 1
    info, runs = told()
    assert [run["name"] for run in map(record.read_json, [r / "run.json" for r in runs])] == [
        "4 samples",
        "10 samples",
        "100 samples",
    ]
    table = info["table"]
    assert [row["samples"] for row in table] == [4, 10, 100]
    assert {row["memorized"] for row in table} == {"yes"}
    for row, run in zip(table, runs, strict=True):
        last = record.read_points(run)
        assert row["val/accuracy"] == last[-1]["values"]["held_out/accuracy"]
        assert row["steps"] == last[-1]["step"] < 1000, "it ends when all are memorized"
        made = recipe(run)
        assert made["augmentation"] == {}, "as typed alone"
        assert made["regularization"] == {
            "batch_norm": recipe(record.all_runs("outputs")[0])["regularization"]["batch_norm"]
        }
        assert made["regularization"]["batch_norm"]["momentum"] == 0.2
        assert made["optimizer"]["weight_decay"] == 0
        assert made["schedule"]["_target_"] == "dlrun.schedule.cosine"
    rows = [arrays(run / "rows.npz") for run in runs]
    assert set(rows[0]["train"]) < set(rows[1]["train"]) < set(rows[2]["train"])
    assert set(rows[2]["train"]) < set(digits.train.rows.tolist())
    assert sorted(digits.train.y[rows[1]["train"]].tolist()) == list(range(10))
    assert rows[2]["held_out"].tolist() == digits.val.rows.tolist()
    [found] = info["findings"]
    assert found["name"] == "memorized"
    assert "Validation beats guessing by two standard errors from" in found["text"]
    assert info["chart"]["curves"]["validation"] == [row["val/accuracy"] for row in table]
    assert len(list(record.all_runs("outputs")[0].glob("figures/samples.png"))) == 1
    assert "100 samples are memorized" in shown.out


def test_what_cannot_is_a_failure(here, capsys):
    words = ["procedure.samples=[4,100]", "procedure.steps=20", "optimizer.lr=1e-9"]
    assert main([*COMMON, *words]) == 1
    shown = capsys.readouterr()
    said = "4 samples are not memorized within 20 steps: train/accuracy"
    assert f"error: cannot_overfit: {said}" in shown.err
    assert said in shown.out
    info, runs = told()
    [found] = info["findings"]
    assert (found["name"], found["level"]) == ("cannot_overfit", "fail")
    assert found["command"] == "dlrun tracking=none threads=1 optimizer.lr=1e-9 procedure=find_lr"
    assert found["numbers"]["train/accuracy of 4"] < 1
    assert "never beats guessing by two standard errors (val/accuracy 0.1" in found["text"]
    assert len(runs) == 2
    assert {row["memorized"] for row in info["table"]} == {"no"}


@pytest.mark.parametrize("nothing", in_suite(["{}"], ["{}", "null"]))  # null in older records
def test_to_go_on_with_a_run_finds_no_default_changed(here, capsys, nothing):
    assert main([*COMMON, "procedure.samples=[1]", "procedure.steps=30"]) == 0
    [run] = told()[1]
    text = (run / "recipe.yaml").read_text()
    for group in ("augmentation", "regularization"):
        assert f"{group}: {{}}" in text
        text = text.replace(f"{group}: {{}}", f"{group}: {nothing}")
    record.write_recipe(run, text)
    capsys.readouterr()
    assert main([f"resume={run.name}", "tracking=none", "epochs=40 steps"]) == 0
    assert "defaults have changed" not in capsys.readouterr().err


def test_without_validation_nothing_is_said_of_it(here, capsys):
    words = ["procedure.samples=[1]", "procedure.steps=30", "data.split=100/0/0"]
    main([*COMMON, *words])
    said = capsys.readouterr().out
    assert "val/" not in said
    assert "held_out" not in said


def test_more_than_a_few_need_not_be_memorized(here):
    assert main([*COMMON, "procedure.samples=[500]", "procedure.steps=1"]) == 0
    assert "No number of samples was memorized within 1 step." in told()[0]["findings"][0]["text"]


def low(losses):
    """What is memorized comes down to."""
    return 0.01 * losses[0]


@pytest.mark.parametrize("loss", sparsely(["mse", "mae"], 2))
def test_numbers_are_memorized_by_their_loss(numbers, loss):
    words = ["procedure.samples=[1,5]", f"loss={loss}", "optimizer=adam", "optimizer.lr=0.01"]
    words += ["procedure.steps=400"]
    assert main([*COMMON, *numbers, *words]) == 0
    info, runs = told()
    for row, run in zip(info["table"], runs, strict=True):
        losses = [p["values"].get("train/loss") for p in record.read_points(run)]
        losses = [loss for loss in losses if loss is not None]
        assert row["memorized"] == "yes"
        assert row["steps"] == 1 + next(n for n, each in enumerate(losses) if each <= low(losses))
        assert row["steps"] < 400
    assert "never beats guessing" in info["findings"][0]["text"]
    assert set(info["chart"]["curves"]) == {"training", "validation"}


def test_a_guess_is_the_most_frequent_class_or_the_median(digits, compose_recipe, numbers):

    metric, value, clearly = guessed(digits)
    train, val = (split.y[split.rows].numpy() for split in (digits.train, digits.val))
    share = np.mean(val == np.bincount(train).argmax())
    assert (metric, value) == ("accuracy", pytest.approx(share))
    assert clearly == pytest.approx(share + 2 * np.sqrt(share * (1 - share) / len(val)))
    data = Session().data(compose_recipe(*numbers))
    metric, value, clearly = guessed(data)
    y = arrays("noise.npz")["y"][:, 0]
    train = np.sort(y[data.train.rows.numpy()])
    errors = np.abs(y[data.val.rows.numpy()] - train[(len(train) - 1) // 2])
    assert (metric, value) == ("mae", pytest.approx(errors.mean()))
    assert clearly == pytest.approx(errors.mean() - 2 * errors.std() / np.sqrt(len(errors)))


def test_the_few_are_among_the_more_and_every_class_has_its_turn(digits):
    order = nested(digits.train, seed=3)
    assert sorted(order) == digits.train.rows.tolist()
    for count in (7, 10, 25, 1000):
        found = digits.train.y[order[:count]].bincount(minlength=10)
        assert found.max() - found.min() <= 1
    assert order != nested(digits.train, seed=4)


@pytest.mark.proof
def test_interrupted_and_typed_again_it_ends_as_a_whole_one(here, monkeypatch):
    words = [*COMMON, "procedure.samples=[4,100]", "regularization=[batch_norm]"]
    words += ["checkpoint_every='7 steps'"]
    assert main([*words, "outputs=whole"]) == 0
    add, steps = loop.Housekeeping.attend, []

    def dying(housekeeping):
        add(housekeeping)
        steps.append(housekeeping)
        if len(steps) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Housekeeping, "attend", dying)
    assert main(words) == 130
    assert main(words) == 0
    info, runs = told()
    whole, others = told("whole")
    assert info["table"] == whole["table"]
    for run, other in zip(runs, others, strict=True):
        assert timeless(record.read_points(run)) == timeless(record.read_points(other))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["procedure.samples=[]"], "procedure.samples=[]: must hold at least one"),
        (["procedure.samples=[0,4]"], "all above 0"),
        (["procedure.samples=[9999]"], "procedure.samples=[9999]: all left out"),
        (["procedure.samples=4"], "procedure.samples=4"),
        (["procedure.steps=0"], "procedure.steps=0: must be at least 1"),
        (["procedure.sample=[4]"], "did you mean procedure.samples=[4]?"),
    ],
    ids=str,
)
def test_mistakes(here, capsys, words, said):
    assert main([*COMMON, *words]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_a_single_sample_that_batch_norm_refuses_is_left_out(here, capsys):
    words = ["regularization=[batch_norm]", "procedure.samples=[1,4]"]
    assert main([*COMMON, *words]) == 0
    assert "procedure.samples: 1 left out: " in capsys.readouterr().err
    assert [row["samples"] for row in told()[0]["table"]] == [4]


def test_the_data_are_read_once(here, capsys):
    lines = [f"{n},{n * n % 17},{n % 5}.5" for n in range(60)]
    (here / "few.csv").write_text("\n".join(["a,b,y", *lines]))
    words = ["data=arrays", "data.path=few.csv", "data.target=y", "loss=mse"]
    words += ["data.features=[a,b]", "procedure.samples=[1,4]", "procedure.steps=50"]
    assert main([*COMMON, *words]) in (0, 1)
    assert capsys.readouterr().out.count("reading ") <= 1


def test_outputs_that_cannot_be_written_are_said_once(here, capsys):
    (here / "taken").write_text("")
    assert main(["procedure=overfit", "tracking=none", "outputs=taken/runs"]) == 2
    out, err = capsys.readouterr()
    assert "left out" not in out + err
    assert err.startswith("error: outputs=taken/runs: ")
