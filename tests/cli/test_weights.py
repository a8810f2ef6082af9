"""`weights=`: from a run, a sweep, a procedure, a file; what is said, kept, and refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import checkpoint
from dlrun.job.lab import Lab
from tests.conftest import in_suite
from tests.states import differences, flip, without_clock

TINY = ("tracking=none", "threads=1", "model.hidden=[8]", "preflight=off", "test=false")


def run(*words, code=0):
    assert main([*TINY, *words]) == code
    return record.all_runs("outputs")[-1] if record.all_runs("outputs") else None


@pytest.fixture
def eight(here):
    """A run on eight of the digits."""
    return run("data.classes=[0,1,2,3,4,5,6,7]", "epochs=2")


def told(directory):
    return json.loads((directory / "run.json").read_text())


def best(directory):
    return checkpoint.read(directory / "checkpoints" / "best.pt")


def begun(directory):
    return checkpoint.read(directory / "checkpoints" / "start.pt")


def test_from_a_run_to_other_classes(eight, capsys):
    two = run("data.classes=[8,9]", "weights=last", "epochs=1")
    shown = capsys.readouterr().out
    line = (
        f"weights of run {eight.name}: 2 tensors with 520 numbers loaded; drawn anew: "
        "3.weight (2×8, was 8×8), 3.bias (2, was 8); left out: none; preprocessing: kept"
    )
    assert line in shown.replace("\n", " ")
    start = begun(two)["model"]
    assert torch.equal(start["1.weight"], best(eight)["1.weight"])
    assert start["3.weight"].shape == (2, 8)
    facts = told(two)
    assert facts["weights"]["run"] == eight.name
    assert len(facts["weights"]["digest"]) == 16
    assert f"weights=outputs/runs/{eight.name}" in facts["overrides"]  # another will be last
    last = checkpoint.read(eight / "checkpoints" / "last.pt")
    assert not differences(begun(two)["preprocessing"], last["preprocessing"])


@pytest.mark.proof
def test_preprocessing_of_another_kind_is_fitted_anew(eight, capsys):
    two = run("data.classes=[8,9]", "weights=last", "epochs=1", "preprocessing=[center_channel]")
    assert "preprocessing" not in told(two)["weights"]
    last = checkpoint.read(eight / "checkpoints" / "last.pt")
    assert differences(begun(two)["preprocessing"], last["preprocessing"])


@pytest.mark.parametrize(
    "kind", in_suite(["state dict"], ["state dict", "last.pt", "safetensors", "id", "directory"])
)
def test_all_ways_to_name_the_same_weights(kind, eight, here, capsys):
    weights = best(eight)
    if kind == "state dict":
        torch.save({f"module.{name}": value for name, value in weights.items()}, "my net.pth")
        which = "'my net.pth'"
    elif kind == "safetensors":
        save_file(weights, "w.safetensors")
        which = "w.safetensors"
    elif kind == "last.pt":
        which = str(eight / "checkpoints" / "last.pt")
        weights = checkpoint.read(which)["model"]
    else:
        which = eight.name if kind == "id" else str(eight)
    two = run("data.classes=[8,9]", f"weights={which}", "epochs=1")
    assert torch.equal(begun(two)["model"]["1.weight"], weights["1.weight"])


@pytest.mark.proof
def test_from_a_sweep_its_best_run(here, capsys):
    words = ["-m", *TINY, "epochs=1", "optimizer.lr=0.05,1e-6", "sweep.export=none"]
    assert main(words) == 0
    [sweep] = (here / "outputs" / "sweeps").iterdir()
    good = [run for run in record.all_runs("outputs") if "optimizer.lr=0.05" in told(run)["name"]]
    two = run("data.classes=[8,9]", f"weights={sweep.name}", "epochs=1")
    assert told(two)["weights"]["run"] == good[0].name


@pytest.mark.proof
def test_from_a_procedure_its_best_run(here, capsys):
    run("procedure=ensemble", "procedure.seeds=2", "epochs=1")
    [own] = [each for each in record.all_runs("outputs") if told(each).get("kind")]
    ends = {
        name: record.last_values(record.read_points(own.with_name(name)))["best/val_accuracy"]
        for name in told(own)["runs"]
    }
    two = run("data.classes=[8,9]", f"weights={own.name}", "epochs=1")
    assert ends[told(two)["weights"]["run"]] == max(ends.values())


@pytest.mark.proof
def test_last_weights_where_they_are_the_result(here, capsys):
    words = ["regularization=[early_stopping]", "regularization.early_stopping.restore_best=false"]
    first = run(*words, "epochs=4", "optimizer.lr=0.5", "optimizer.momentum=0.99")
    state = checkpoint.read(first / "checkpoints" / "last.pt")
    two = run("weights=last", "epochs=1")
    kept = begun(two)["model"]
    assert torch.equal(kept["1.weight"], state["model"]["1.weight"])
    if state["position"]["best_step"] != state["position"]["step"]:
        assert not torch.equal(kept["1.weight"], best(first)["1.weight"])


def test_resuming_needs_no_source(eight, here, capsys):
    words = ["data.classes=[8,9]", "weights=last", "epochs=3", "freeze=[backbone]"]
    words += ["unfreeze_at='2 epochs'", "lr_of={head:3}", "checkpoint_every='1 epochs'"]
    whole = run(*words)
    state, points = (checkpoint.read(whole / "checkpoints" / "last.pt"), record.read_points(whole))
    # As if it had been killed before its first checkpoint.
    for file in ("last.pt", "best.pt", "previous.pt"):
        (whole / "checkpoints" / file).unlink(missing_ok=True)
    shutil.rmtree(eight)
    assert main([f"resume={whole.name}"]) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert f"weights of run {eight.name}: 2 tensors" in shown.out.replace("\n", " ")
    again = checkpoint.read(whole / "checkpoints" / "last.pt")
    assert not differences(without_clock(state), without_clock(again))
    for before, now in zip(points, record.read_points(whole), strict=True):
        same = [{k: v for k, v in p["values"].items() if "time" not in k} for p in (before, now)]
        assert same[0] == same[1]
    assert told(whole)["weights"]["run"] == eight.name


def test_a_run_that_goes_on_keeps_its_model_and_says_nothing_of_its_weights(here, capsys):
    run("epochs=1")
    run("weights=last", "epochs=1")
    for word, said in {
        "model=cnn": "a run keeps its model, and the weights that it began with are of another",
        "data.split=50/25/25": "data.split=50/25/25 (was",
    }.items():
        capsys.readouterr()
        assert main(["resume=last", word]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1
        assert "weights=" not in err


@pytest.mark.proof
def test_another_split_of_the_same_data_is_warned_of(here, capsys):
    run("epochs=1")
    run("weights=last", "epochs=1", "data.samples=50%")
    assert "another split" not in capsys.readouterr().err
    run("weights=last", "epochs=1", "data.split_seed=1")
    assert "were trained on another split of the same data" in capsys.readouterr().err


@pytest.mark.proof
def test_a_sweep_over_weights_trains_anew_what_has_changed(eight, here, capsys):
    torch.save(best(eight), "a.pt")
    torch.save({k: v + 1 for k, v in best(eight).items()}, "b.pt")
    words = ["-m", *TINY, "data.classes=[8,9]", "weights=a.pt,b.pt,last", "epochs=1"]
    assert main(words) == 2
    assert f"to go on; write weights=outputs/runs/{eight.name}\n" in capsys.readouterr().err
    words[-2] = f"weights=a.pt,b.pt,{eight.name}"
    assert main(words) == 0
    runs = record.all_runs("outputs")
    assert len(runs) == 4
    assert main(words) == 0
    assert record.all_runs("outputs") == runs
    torch.save({k: v + 2 for k, v in best(eight).items()}, "b.pt")
    assert main(words) == 0
    assert len(record.all_runs("outputs")) == 5
    assert "weights=b.pt: has changed since" in capsys.readouterr().err


PROCEDURES = {"cross_validate": 2, "find_lr": 0, "baseline": 0}  # the last trains other models


@pytest.mark.proof
@pytest.mark.parametrize("procedure", PROCEDURES)
def test_procedures_begin_with_the_weights(procedure, eight, capsys):
    options = {"find_lr": ["procedure.steps=10"], "cross_validate": ["procedure.folds=2"]}
    words = [f"procedure={procedure}", *options.get(procedure, []), f"weights={eight.name}"]
    words += ["freeze=[backbone]", "lr_of={head:2}", "epochs=1"]
    assert main([*TINY, *words]) == 0, capsys.readouterr().err
    found = {run: told(run).get("weights", {}).get("run") for run in record.all_runs("outputs")}
    of = [run for run, source in found.items() if source == eight.name]
    assert len(of) == PROCEDURES[procedure]


@pytest.mark.parametrize("becomes", ["deleted", "trained on"])
@pytest.mark.parametrize(
    "procedure",
    [
        ["procedure=cross_validate", "procedure.folds=2"],
        ["procedure=bagging", "procedure.models=2"],
    ],
)
def test_a_procedure_goes_on_with_the_weights_that_it_began_with(
    becomes, procedure, eight, monkeypatch, capsys
):
    source, train = best(eight)["1.weight"], Lab._train

    def stopped(lab, wanted):
        if wanted.place == 1:
            raise KeyboardInterrupt
        return train(lab, wanted)

    words = [*procedure, "epochs=1", "data.classes=[8,9]"]
    with monkeypatch.context() as patch:
        patch.setattr(Lab, "_train", stopped)
        first = run(*words, f"weights={eight.name}", code=130)
    directory = first.parent / told(first)["parent"]
    if becomes == "deleted":
        shutil.rmtree(eight)
    else:
        assert main([f"resume={eight.name}", "epochs=5"]) == 0, capsys.readouterr().err
    assert main([f"resume={directory.name}"]) == 0, capsys.readouterr().err
    second = record.all_runs("outputs")[-1]
    assert second != first
    assert torch.equal(begun(second)["model"]["1.weight"], source)
    assert not (directory / "begun").exists()


@pytest.mark.parametrize("kind", ["id", "path"])
@pytest.mark.parametrize("procedure", [["cross_validate", "folds"], ["bagging", "models"]])
def test_a_procedure_that_is_typed_again_needs_no_source(
    procedure, kind, eight, monkeypatch, capsys
):
    train, named = Lab._train, eight.name if kind == "id" else f"outputs/runs/{eight.name}"

    def stopped(lab, wanted):
        if wanted.place == 1:
            raise KeyboardInterrupt
        return train(lab, wanted)

    words = [f"procedure={procedure[0]}", f"procedure.{procedure[1]}=2", f"weights={named}"]
    words += ["epochs=1", "data.classes=[8,9]"]
    with monkeypatch.context() as patch:
        patch.setattr(Lab, "_train", stopped)
        first = run(*words, code=130)
    shutil.rmtree(eight)
    run(*words)
    runs = record.all_runs("outputs")
    assert len(runs) == 3
    assert main([f"resume={told(first)['parent']}"]) == 0, "to show what it has come to"
    run(*words)
    assert record.all_runs("outputs") == runs
    assert {record.read_status(each)["status"] for each in runs} == {record.FINISHED}
    capsys.readouterr()
    run(*words, "seed=7", code=2)
    assert f"error: weights=outputs/runs/{eight.name}: no run" in capsys.readouterr().err
    assert record.all_runs("outputs") == runs


def test_a_procedure_says_that_it_begins_anew_with_other_weights(eight, capsys):
    words = ["procedure=cross_validate", "procedure.folds=2", "epochs=1", "data.classes=[8,9]"]
    words += [f"weights={eight.name}"]
    before = run(*words)
    procedure = before.parent / told(before).get("parent", before.name)
    record.write_json(procedure / "status.json", {"status": record.KILLED})
    assert main([f"resume={eight.name}", "epochs=5"]) == 0
    capsys.readouterr()
    run(*words)
    said = f"weights=outputs/runs/{eight.name}: changed since procedure {procedure.name} began"
    assert said in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("damage", [flip, lambda file: file.write_bytes(b"PK"), Path.unlink])
def test_the_best_weights_are_written_anew_where_a_run_goes_on(damage, eight, capsys):
    file, whole = eight / "checkpoints" / "best.pt", best(eight)
    damage(file)
    run(f"weights={eight.name}", "epochs=1", code=2)
    assert run(f"resume={eight.name}") == eight
    assert "it is written anew" in capsys.readouterr().err
    assert not differences(best(eight), whole)
    assert run(f"weights={eight.name}", "epochs=1") != eight


WRONG = [
    ("weights=lst", "weights=lst", "there are last, "),
    ("weights=nope.pt", "weights=nope.pt", "there is no file nope.pt"),
    ("weights=text.pt", "weights=text.pt", "is not a complete weights file"),
    ("weights=module.pt", "weights=module.pt", "torch.save(model.state_dict()"),
    ("weights=other.pt", "nothing fits: they are conv.weight (3×3)", "1.weight (8×64)"),
    ("model=cnn weights=last", "nothing fits", "its run has model=mlp"),
    ("weights=lost", "runs/lost/checkpoints/best.pt is missing", "name another run"),
    ("weights=flipped", "best.pt is damaged: checksum of", "; dlrun resume=flipped writes it anew"),
    ("weights=halted", "run halted has no weights yet", "dlrun resume=halted"),
    ("freeze=[hed]", "freeze=[hed]", "did you mean head?"),
    ("freeze=[1,2.*]", "no parameter has the name '2.*'", "there are head, backbone, 1, 3"),
    ("freeze=['*']", "freeze=[*]: leaves nothing to train", "freeze=[backbone]"),
    ("freeze=[1] unfreeze_at=soon", "unfreeze_at=soon", "'5 epochs' or '200 steps' or 10%"),
    ("unfreeze_at=3", "unfreeze_at=3", "say what, with freeze=[backbone]"),
    ("lr_of={nope:3}", "lr_of.nope=3: no parameter", "there are head"),
    ("lr_of={head:0}", "lr_of={head:0}: write", "factors above 0"),
    ("lr_of={head:fast}", "lr_of=", "factors above 0"),
    ("lr_of=10", "lr_of=10", "{head: 10}"),
    ("layer_decay=1.5", "layer_decay=1.5", "at most 1"),
    ("layer_lr=fan_out", "layer_lr=fan_out", "must be fan_in"),
    ("layer_lr=fan_in layer_lr_power=9", "layer_lr_power=9", "between -4 and 4"),
    ("optimizer=lbfgs batch_size=full layer_lr=fan_in", "layer_lr: optimizer=lbfgs", "adamw"),
    ("freeze={a:1}", "freeze=", "[stem,layer1.*]"),
    ("optimizer=lbfgs batch_size=full lr_of={head:3}", "lr_of: optimizer=lbfgs", "adamw"),
    (
        "optimizer=natural_gradient layer_decay=0.5 freeze=[1] unfreeze_at=1",
        "unfreeze_at, layer_decay: optimizer=natural_gradient",
        "leave them out",
    ),
    ("resume=last weights=last", "weights=last: a run that goes on", "without resume="),
    ("pretrained=last", "pretrained=last", "weights="),
    ("frozen=[1]", "frozen=[1]", "did you mean freeze=[1]?"),
    ("lr_of.head=3", "lr_of.head=3", "lr_of={head:3}"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a run that has ended, one that lost its weights, and one not begun."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = run("epochs=1")
        for name, status in (("halted", record.KILLED), ("lost", record.FINISHED)):
            without = made.with_name(name)
            shutil.copytree(made, without)
            shutil.rmtree(without / "checkpoints")
            info = told(without) | {"id": name, "started": "2000"}
            (without / "run.json").write_text(json.dumps(info))
            record.write_json(without / "status.json", {"status": status, "message": ""})
        flipped = made.with_name("flipped")
        shutil.copytree(made, flipped)
        (flipped / "run.json").write_text(json.dumps(told(flipped) | {"started": "2000"}))
        flip(flipped / "checkpoints" / "best.pt")
        (folder / "text.pt").write_text("hello")
        torch.save(torch.nn.Linear(3, 3), "module.pt")
        torch.save({"conv.weight": torch.ones(3, 3)}, "other.pt")
    return folder


@pytest.mark.parametrize("command", in_suite([c for c, *_ in WRONG[::4]], [c for c, *_ in WRONG]))
def test_what_is_wrong_is_said(command, trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    before = record.all_runs("outputs")
    [(what, right)] = [rest for each, *rest in WRONG if each == command]
    words = command.split()
    words = words if "resume" in command else [*(w for w in TINY if "hidden" not in w), *words]
    words += [] if "model=" in command or "resume" in command else ["model.hidden=[8]"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert what in said
    assert right in said
    assert record.all_runs("outputs") == before


@pytest.mark.proof
def test_retraining_goes_on_with_what_has_been_set_free(eight, capsys):
    words = [f"weights={eight.name}", "freeze=[backbone]", "unfreeze_at='1 epochs'", "epochs=2"]
    words += ["procedure=retrain", "procedure.strategy=continue", "regularization=[early_stopping]"]
    assert main([*TINY, *words]) == 0, capsys.readouterr().err
    first, second = (each for each in record.all_runs("outputs")[-2:])
    moved = [best(each)["1.weight"] for each in (eight, first, second)]
    assert told(second)["frozen"]["until"] == 0
    assert not torch.equal(moved[0], moved[1])
    assert not torch.equal(
        moved[1], checkpoint.read(second / "checkpoints" / "last.pt")["model"]["1.weight"]
    )


def test_a_variant_that_begins_with_the_last_run_is_refused(eight, capsys):
    words = ["procedure=contrast", "epochs=1"]
    assert main([*TINY, *words, "procedure.variants={a: '', b: 'weights=last'}"]) == 2
    said = "procedure.variants.b: weights=last: is another run when this command is typed again"
    shown = capsys.readouterr().err.replace("\n", " ")
    assert said in shown
    assert f"write weights=outputs/runs/{eight.name}" in shown
    assert record.all_runs("outputs") == [eight]
