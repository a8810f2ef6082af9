"""Variants of a recipe: each is the command with its words, and all are in one figure."""

import shutil

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.record.expected import reached
from tests.conftest import sparsely
from tests.job.test_lab import children, parent

COMMON = ("tracking=none", "threads=1", "epochs='30 steps'", "preflight=off")
CHOSEN = "model=linear optimizer=adam optimizer.lr=0.01 'regularization=[l1,max_norm]'"
VARIANTS = f"procedure.variants={{low: ['optimizer.lr=1e-3'], other: \"{CHOSEN}\"}}"
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def experiment(tmp_path):
    """A file that asks for two variants by itself."""
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\n# Two rates\ndefaults:\n  - override /procedure: contrast\n"
    text += "procedure:\n  variants: {low: optimizer.lr=1e-3, good: optimizer.lr=0.1}\n"
    (folder / "rates.yaml").write_text(text)
    return ["--config-dir", "mine", "+experiment=rates"]


def without_clock(values):
    return {key: value for key, value in values.items() if not key.startswith("time/")}


@pytest.mark.figures
@pytest.mark.proves("procedure=contrast")
def test_a_variant_is_the_command_with_its_words(capsys):
    assert main([*COMMON, "test=false", "procedure=contrast", VARIANTS]) == 0
    assert "rate_too_low" not in capsys.readouterr().out  # preflight=off
    [own] = parent()
    values = record.read_points(own)[-1]["values"]
    alone = ["model=linear", "optimizer=adam", "optimizer.lr=0.01", "regularization=[l1,max_norm]"]
    for name, words in (("low", ["optimizer.lr=1e-3"]), ("other", alone)):
        assert main([*COMMON, "test=false", f"outputs={name}", *words]) == 0
        run = record.find(name, "last")
        for key, value in without_clock(reached(run)).items():
            assert values[f"{name} {key}"] == value
        told = record.read_json(own / "run.json")["chart"]
        for panel, key in zip(told, ("train/loss", "val/accuracy"), strict=True):
            points = [p for p in record.read_points(run) if key in p["values"]]
            expected = [[p["epoch"] for p in points], [p["values"][key] for p in points]]
            assert panel["paths"][name] == expected
    assert (own / "figures" / "contrast.png").stat().st_size > 5000
    assert not any(key.startswith("low test/") for key in values)


@pytest.mark.proof
def test_what_was_killed_goes_on_where_it_was():
    words = [*COMMON, "procedure=contrast", VARIANTS]
    assert main(words) == 0
    [own], [first, second] = parent(), children()
    whole = without_clock(record.read_points(second)[-1]["values"])
    kept = (first / "metrics.jsonl").read_bytes()
    shutil.rmtree(second)
    record.write_json(own / "status.json", {"status": "KILLED", "message": "", "pid": 0})
    assert main(words) == 0
    [again], [one, other] = parent(), children()
    assert (again, one) == (own, first)
    assert (one / "metrics.jsonl").read_bytes() == kept
    assert without_clock(record.read_points(other)[-1]["values"]) == whole


def test_the_mean_over_seeds():
    words = ("procedure.variants={usual: ''}", "procedure.seeds=2", "procedure.metric=val/loss")
    assert main([*COMMON, "procedure=contrast", *words]) == 0
    [own], runs = parent(), children()
    losses = [record.read_points(run)[-2]["values"]["val/loss"] for run in runs]
    assert [record.read_json(run / "run.json")["name"] for run in runs] == [
        "usual, seed 0",
        "usual, seed 1",
    ]
    values = record.read_points(own)[-1]["values"]
    assert values["usual val/loss"] == pytest.approx(sum(losses) / 2)
    [_, right] = record.read_json(own / "run.json")["chart"]
    assert right["paths"]["usual"][1][-1] == pytest.approx(sum(losses) / 2)


@pytest.mark.proof
def test_a_variant_that_diverges_is_shown_as_far_as_it_came(capsys):
    variants = "procedure.variants={wild: 'optimizer.lr=1e9', good: 'optimizer.lr=0.1'}"
    words = [*COMMON, "log_every='5 steps'", "procedure=contrast", variants]
    assert main(words) == 0
    assert "diverged" in capsys.readouterr().out
    [own] = parent()
    assert record.read_points(own)[-1]["values"]["wild finding/diverged"] == 1
    before = [(run / "metrics.jsonl").read_bytes() for run in children()]
    assert main(words) == 0
    assert [(run / "metrics.jsonl").read_bytes() for run in children()] == before


@pytest.mark.proof
def test_a_run_of_an_experiment_s_variant_can_be_typed_and_resumed_alone(experiment):
    assert main([*experiment, *COMMON]) == 0
    low, good = children()
    words = [*experiment, *COMMON, "optimizer.lr=0.1", "procedure=train", "test=false"]
    assert main([*words, "outputs=alone"]) == 0
    alone = record.find("alone", "last")
    assert without_clock(reached(alone)) == without_clock(reached(good))
    words = [*experiment[:2], f"resume={low.name}", "epochs='40 steps'", "tracking=none"]
    assert main(words) == 0
    assert record.read_points(low)[-1]["step"] == 40
    assert record.read_json(low / "run.json")["overrides"][-1] != "procedure=contrast"


@pytest.mark.parametrize(
    ("words", "said"),
    sparsely(
        [
            (["procedure.variants={low: 'optimizer.lrr=1'}"], "variants.low: optimizer.lrr=1: "),
            (
                ["procedure.variants={a: '', b: ['model=mpl']}"],
                "variants.b: model=mpl: no model is",
            ),
            (["procedure.variants={a: 'epochs=x'}"], "variants.a: epochs=x: write a duration"),
            (["procedure.variants={a: nothing}"], "variants.a: nothing: write key=value"),
            (['procedure.variants={a: "name=\'x"}'], "variants.a: No closing quotation"),
            (["procedure.variants={a: 'seed=1,2'}"], "variants.a: seed=1,2: several values"),
            (
                ["procedure.variants={a: 'procedure=find_lr'}"],
                "variants.a: procedure=find_lr: belongs to the whole command, and",
            ),
            (["procedure.variants={a: 'tracking.uri=x'}"], "variants.a: tracking.uri=x: belongs"),
            (["procedure.variants={a: '+name=x'}"], "variants.a: +name=x: belongs to the"),
            (["procedure.variants=[a]"], "procedure.variants=[a]: expected a mapping"),
            (["procedure.variants={a: ''}", "procedure.seeds=0"], "procedure.seeds=0: must be at"),
            ([], "procedure.variants is required"),
        ],
        3,
    ),
)
def test_mistakes(words, said, capsys):
    assert main([*COMMON, "procedure=contrast", *words]) == 2
    assert said in capsys.readouterr().err
    assert record.all_runs("outputs") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["procedure.variants={a: '', b: 'optimizer.lr=-1'}"], "procedure.variants.b: optimizer."),
        (["procedure.variants={a: 'data=arrays data.path=no.csv'}"], "procedure.variants.a: data."),
        (["procedure.variants={a: 'seed=1'}", "optimizer.lr=-1"], "optimizer.lr=-1: must be at"),
    ],
)
def test_what_is_refused_once_it_is_built_names_the_variant_that_sets_it(words, said, capsys):
    assert main([*COMMON, "procedure=contrast", "epochs='1 step'", *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("metric=val/auroc", "metric=val/auroc: is not measured; add metric=[auroc]"),
        ("metric=val/los", "metric=val/los: is not measured; did you mean val/loss?"),
        ("metric=accuracy", "metric=accuracy: is not recorded; did you mean val/accuracy?"),
        ("metric=test/loss", "metric=test/loss: is not measured; use val/loss"),
        ("metric=layer/1/std", "metric=layer/1/std: is not recorded; add watch=layers"),
        (
            "metric=layer/99/std watch=layers",
            "metric=layer/99/std: is not recorded; the layers are 1, 2, 3",
        ),
        (
            "metric=layer/fc1.relu/std watch=layers model=lenet",
            "metric=layer/fc1.relu/std: is not recorded; the layers are",
        ),
        (
            "metric=layer/1/zeroes watch=layers",
            "metric=layer/1/zeroes: is not recorded; did you mean layer/1/zeros?",
        ),
        (
            "metric=layer/1/size watch=layers",
            "metric=layer/1/size: is not recorded; there are mean, std, zeros,",
        ),
        ("metric=train_eval/loss", "metric=train_eval/loss: is not measured; add train_eval=true"),
        ("also=[lr,lrr]", "also=lrr: is not recorded; did you mean lr?"),
        ("until={train/lss:1}", "until=train/lss: is not recorded; did you mean train/loss?"),
        ("until={lr:1}", "until=lr: ends no run; use train/loss or a val/ metric"),
    ],
)
def test_a_value_that_nobody_records_is_refused_before_training(setting, said, capsys):
    words = ["procedure=contrast", "procedure.variants={usual: ''}"]
    assert main([*COMMON, *words, *f"procedure.{setting}".split()]) == 2
    assert f"error: procedure.{said}" in capsys.readouterr().err
    assert record.all_runs("outputs") == []


def test_a_value_that_one_variant_records_is_enough():
    variants = "procedure.variants={plain: '', more: 'metric=[auroc]'}"
    words = ["procedure=contrast", variants, "procedure.metric=val/auroc"]
    assert main([*COMMON, *words]) == 0
    [own] = parent()
    assert "more val/auroc" in record.read_points(own)[-1]["values"]


@pytest.mark.parametrize(
    ("words", "titles"),
    sparsely(
        [
            (
                ["procedure.also=[lr]", "procedure.title=Two"],
                ["Two", "Validation", "Learning rate"],
            ),
            (["procedure.apart=true"], ["low", "other"]),
        ],
        2,
    ),
)
def test_panels(words, titles):
    assert main([*COMMON, "procedure=contrast", VARIANTS, *words]) == 0
    panels = record.read_json(parent()[0] / "run.json")["chart"]
    assert [panel["title"] for panel in panels] == titles
    apart = "procedure.apart=true" in words
    named = ["training", "validation"] if apart else ["low", "other"]
    assert all(list(panel["paths"]) == named for panel in panels)


def test_what_ends_a_run_and_what_a_layer_is_like():
    words = ["procedure=contrast", "tracking=none", "test=false", "epochs=3", "preflight=off"]
    words += ["watch=layers", "procedure.metric=layer/1/std", "procedure.until={train/loss:2.2}"]
    words.append("procedure.variants={slow: 'optimizer.lr=1e-5', fast: 'optimizer.lr=0.05'}")
    assert main(words) == 0
    [found] = [
        each
        for each in record.all_runs("outputs")
        if record.read_json(each / "run.json").get("kind") == "procedure"
    ]
    values = record.last_values(record.read_points(found))
    assert (values["slow epochs"], values["fast epochs"]) == (3, 1)
    _, second = record.read_json(found / "run.json")["chart"]
    assert second["y"] == "layer/1/std"
