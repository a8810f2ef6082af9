"""The guided first steps: each is the procedure itself, the page has all, a kill loses nothing."""

import base64
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.engine import train as loop
from dlrun.procedure import find_lr, start
from dlrun.procedure.start import _around, _Point
from dlrun.record import named

COMMON = ("tracking=none", "threads=1")
START = (*COMMON, "procedure=start")
SHORT = ("procedure.epochs=1", "procedure.fine_epochs=2", "procedure.samples=[4]")


@pytest.fixture
def few(here, monkeypatch):
    """Two rates are looked at, then two decays and two points around the best."""
    monkeypatch.setattr(find_lr, "_grid", lambda *ends: [0.001, 0.1])
    monkeypatch.setattr(start, "DECAYS", (1e-4, 0.0))
    monkeypatch.setattr(start, "_SPREAD", start._SPREAD[:2])


def infos(outputs="outputs"):
    return {run: record.read_json(run / "run.json") for run in record.all_runs(outputs)}


def own(outputs="outputs"):
    """The record of the procedure, and what it says."""
    found = {run: i for run, i in infos(outputs).items() if i["choices"]["procedure"] == "start"}
    [(run, info)] = found.items()
    return run, info


def told(outputs="outputs"):
    """All that was found, without times and ids."""
    _, info = own(outputs)
    return [info[key] for key in ("value", "table", "findings", "text", "chart")]


@pytest.mark.figures
@pytest.mark.proof
@pytest.mark.proves("procedure=start")
def test_the_steps_are_the_procedures_themselves(here, capsys):
    assert main([*START, *SHORT]) == 0
    shown = capsys.readouterr().out
    run, info = own()
    steps = [i for i in infos().values() if i.get("parent") == run.name and "training" not in i]
    assert [step["choices"]["procedure"] for step in steps] == [
        *("show_data", "preflight", "overfit", "find_lr", "baseline")
    ]
    tried = [i for i in infos().values() if i.get("parent") == run.name and "training" in i]
    rate = next(f for f in steps[3]["findings"] if f["name"] == "best_rate")["numbers"]["lr"]
    settings = [each["training"]["settings"] for each in tried]
    first, longer = settings[:9], settings[9:]
    around = [float(f"{rate * factor:.2g}") for factor in (1 / 3, 1, 3)]
    assert all(each["name"].endswith((", 1 epoch", ", 2 epochs")) for each in tried)
    assert [(each["optimizer.lr"], each["optimizer.weight_decay"]) for each in first] == [
        (lr, decay) for lr in around for decay in (1e-4, 1e-5, 0)
    ]
    assert {each["schedule"] for each in settings} == {"constant"}
    assert [each["epochs"] for each in settings] == [1] * 9 + [2] * len(longer)
    assert all("test" not in (i.get("data") or {}).get("measured", ()) for i in tried)
    values = [row["val/accuracy"] for row in info["table"][: len(longer)]]
    assert info["value"] == max(values) == values[0]
    found, *more = info["findings"]
    assert found["name"] == "first_recipe"
    assert "with the recipe's own length and schedule" in found["text"]
    linear = next(row for row in steps[4]["table"] if row["model"] == "linear")["val/accuracy"]
    assert bool(more) >= (linear >= info["value"])
    best = info["table"][0]
    assert found["command"] == (
        f"dlrun tracking=none threads=1 optimizer.lr={best['optimizer.lr']} "
        f"optimizer.weight_decay={float(best['optimizer.weight_decay'])!r}"
    )
    assert found["command"] in shown
    result = record.read_json(named.find("outputs", run.name) / "run.json")
    assert result["name"].startswith(f"lr {best['optimizer.lr']} "), "none that memorized samples"
    assert result["name"].endswith(", 2 epochs")
    assert (run / "figures" / "rates.png").is_file()
    page = (run / "report.html").read_text()
    commands = re.findall(r"^ +(dlrun .*)$", info["text"], re.MULTILINE)
    assert len(commands) == 7
    assert all(command.replace("'", "&#x27;") in page for command in commands)
    for command, points in ((commands[4], 9), (commands[5], len(longer))):
        assert main([*shlex.split(command)[1:], "sweep.dry_run=true"]) == 0
        assert f"{points} points" in capsys.readouterr().out
    assert page.count("<svg") == 4
    assert "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n").decode()[:7] in page
    assert not re.search(r"""(src|href)=["']?(http|/)|url\((?!#)|<script""", page)
    assert f"the page              {run.relative_to(here) / 'report.html'}" in shown


@pytest.mark.proof
def test_killed_in_the_search_and_typed_again_it_ends_as_a_whole_one(few, monkeypatch):
    recipe = [*SHORT, "regularization=[dropout]"]
    words = [*START, *recipe, "procedure.rates=2"]
    assert main([*words, "outputs=whole"]) == 0
    assert main([*COMMON, "procedure=find_lr", recipe[-1]]) == 0
    [alone] = record.all_runs("outputs")
    found = (alone / "metrics.jsonl").read_bytes()
    attend, steps = loop.Housekeeping.attend, []

    def dying(housekeeping):
        attend(housekeeping)
        if (
            record.read_json(housekeeping._members[0].record.directory / "run.json")
            .get("name", "")
            .endswith("epochs")
        ):
            steps.append(housekeeping)
            if len(steps) == 80:  # in the third run
                raise KeyboardInterrupt

    monkeypatch.setattr(loop.Housekeeping, "attend", dying)
    assert main(words) == 130
    done = len(record.all_runs("outputs"))
    assert done < len(record.all_runs("whole"))
    assert record.read_status(own()[0])["status"] == record.KILLED
    assert main(words) == 0
    assert [str(each).replace("outputs=whole ", "") for each in told("whole")] == [
        *map(str, told())
    ]
    assert len(record.all_runs("outputs")) == len(record.all_runs("whole"))
    page = (own()[0] / "report.html").read_text()
    assert [run for run, i in infos().items() if i["choices"]["procedure"] == "find_lr"] == [alone]
    assert (alone / "metrics.jsonl").read_bytes() == found, "what was typed alone is not done again"
    assert main(words) == 0
    assert len(record.all_runs("outputs")) == len(record.all_runs("whole")), "nothing twice"
    assert len((own()[0] / "report.html").read_text()) == len(page)


def test_a_check_that_fails_ends_it_and_says_what_to_mend(here, capsys):
    assert main([*START, "initializer=zeros", "procedure.samples=[4]"]) == 1
    shown = capsys.readouterr()
    check = "dlrun tracking=none threads=1 initializer=zeros procedure=preflight"
    assert "error: preflight: symmetric_units" in shown.err
    assert f"mend this first, then check it with {check}" in shown.err
    run, info = own()
    assert record.read_status(run)["status"] == record.FAILED
    assert {"symmetric_units", "cannot_overfit"} <= {f["name"] for f in info["findings"]}
    assert [i["choices"]["procedure"] for i in infos().values()] == [
        *("start", "show_data", "preflight")
    ]
    page = (run / "report.html").read_text()
    assert f"<p>When it is mended, check it again:</p><code>{check}</code>" in page
    assert "report.html" in shown.out


def test_what_cannot_memorize_goes_no_further(here, capsys, monkeypatch):
    from dlrun.procedure import preflight

    monkeypatch.setattr(preflight, "driven", lambda built, steps: [])
    assert main([*START, "optimizer.lr=1e-9", "procedure.samples=[4]"]) == 1
    shown = capsys.readouterr()
    assert "error: cannot_overfit: 4 samples are not memorized" in shown.err
    assert "procedure=overfit 'procedure.samples=[4]'" in shown.err
    assert "find_lr" not in [i["choices"]["procedure"] for i in infos().values()]


@pytest.mark.parametrize(
    ("words", "key", "left"),
    [
        (
            ["~optimizer.lr"],
            "optimizer.weight_decay",
            "find_lr is left out: dlrun.optimizer.momentum",
        ),
        pytest.param(
            ["optimizer=rprop", "batch_size=full", "~regularization"],
            *("regularization.l2.strength", ""),
            marks=pytest.mark.proof,
        ),
        pytest.param(
            ["model=autoencoder", "loss=mse", "regularization=[l2]", "optimizer=vsgd"],
            "regularization.l2.strength",
            "baseline is left out: the model gives its input back",
            marks=pytest.mark.proof,
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_other_recipes(few, capsys, words, key, left):
    short = ["procedure.rates=1", "procedure.epochs=1", "procedure.fine_epochs=1"]
    found = main([*START, *words, *short, "procedure.samples=[1]"])
    shown = capsys.readouterr()
    assert found == 0, shown.err
    assert left in shown.err
    _, info = own()
    assert all(key in row for row in info["table"])
    rates = ["optimizer.lr" in row for row in info["table"]]
    assert all(rates) or (not any(rates) and words == ["~optimizer.lr"])
    decays = [float(row[key]) for row in info["table"]]
    assert {1e-4, 0.0} <= set(decays)
    first = shlex.split(info["findings"][0]["command"])[1:]
    assert main([*first, "epochs=1 step"]) == 0, capsys.readouterr().err


@pytest.mark.proof
def test_a_table_of_numbers(few):
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))
    rows = np.column_stack([x, x @ [1.0, 2.0, -1.0]])
    np.savetxt("numbers.csv", rows, delimiter=",", header="a,b,c,d", comments="", fmt="%.4f")
    words = ["data=arrays", "data.path=numbers.csv", "data.target=d", "loss=mse", "optimizer=adamw"]
    assert main([*START, *SHORT, *words, "procedure.rates=1"]) == 0
    _, info = own()
    values = [row["val/loss"] for row in info["table"]]
    longer = [row["val/loss"] for row in info["table"] if row["epochs"] == "2"]
    assert info["value"] == min(longer) == values[0]
    decays = {row["optimizer.weight_decay"] for row in info["table"] if row["epochs"] == "1"}
    assert decays == {"0.01", "0.0001", "0"}, "the recipe's own is among them"


@pytest.mark.parametrize(
    ("linear", "key", "best", "level"),
    [
        (0.95, "val/accuracy", 0.90, "warn"),
        (0.91, "val/accuracy", 0.90, "note"),
        (0.90, "val/accuracy", 0.90, "note"),
        (0.89, "val/accuracy", 0.90, None),
        (0.5, "val/loss", 0.6, "note"),  # whose noise nobody knows
        (0.6, "val/loss", 0.5, None),
    ],
)
def test_a_simpler_model_that_does_as_well_is_named(linear, key, best, level):
    def run(name, settings, value):
        facts = {"accuracy": {"higher_is_better": True, "share": True}}
        facts["loss"] = {"higher_is_better": False}
        info = {"name": name, "monitor": key, "training": {"settings": settings}}
        return SimpleNamespace(
            value=value, info=info | {"metrics": facts, "data": {"samples": {"val": 400}}}
        )

    lab = SimpleNamespace(command=lambda settings: f"dlrun {settings}")
    tried = start._Tried(_Point(0.1, 0.0, ""), run("lr 0.1", {}, best))
    settings = {"model": "linear", "preflight": "off"}
    reached = {"majority class": 0.1 if "acc" in key else 2.3, "linear": linear}
    found = list(start._Report(lab)._simpler(tried, reached, [run("linear", settings, linear)]))
    assert [each.level for each in found] == ([level] if level else [])
    for each in found:
        assert each.command == "dlrun {'model': 'linear'}"
        assert ("within the noise" in each.text) == (level == "note" and "acc" in key)


def test_the_figure_shows_by_what_the_best_rate_is_chosen():
    """One lucky run of another rate may lie above the star."""

    def tried(rate, decay, value):
        point = _Point(rate, decay, "optimizer.weight_decay")
        return start._Tried(point, SimpleNamespace(value=value, info={"monitor": "val/accuracy"}))

    grid = [tried(0.1, 0.0, 0.93), tried(0.1, 1e-4, 0.93), tried(1.0, 0.0, 0.95)]
    curves = start._chart([*grid, tried(1.0, 1e-4, 0.81)]).curves
    assert list(curves) == ["mean", "decay 0", "decay 0.0001"]
    assert curves["mean"] == pytest.approx([0.93, 0.88]), "the star is on the first curve"
    assert start._chart(grid).curves["mean"] == pytest.approx([0.93, None]), "one is missing"
    assert list(start._chart(grid[:1]).curves) == ["decay 0"]
    assert list(start._chart([grid[0], tried(1.0, 1e-4, 0.9)]).curves) == [
        "each with another decay"
    ]


def test_points_around_one_are_all_different_and_not_correlated():
    points = list(_around(_Point(0.1, 1e-4, "optimizer.weight_decay"), largest=1.0))
    rates, decays = ([getattr(p, name) for p in points] for name in ("rate", "decay"))
    assert len(set(rates)) == len(set(decays)) == len(points) == 5
    assert np.corrcoef(np.log(rates), np.log(decays))[0, 1] == pytest.approx(0, abs=0.05)
    assert points[0] == _Point(0.1, 1e-4, "optimizer.weight_decay")
    assert max(rates) / min(rates) == pytest.approx(3, rel=0.05)
    assert [p.rate for p in _around(_Point(0.1, 0.0, ""), 0.12)] == [0.1, 0.058, 0.076]
    assert len(list(_around(_Point(None, 1e-4, ""), 1.0))) == 5
    assert len(list(_around(_Point(None, 0.0, ""), 1.0))) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "seed=0,1"], "procedure=start: searches by itself, so no sweep takes it"),
        (["procedure.epochs=0"], "procedure.epochs=0: must be at least 1"),
        (["procedure.rates=0"], "procedure.rates=0: must be at least 1"),
        (["procedure.samples=[0]"], "procedure.samples=[0]: must hold at least one"),
        (["fine_epochs=20"], "did you mean procedure.fine_epochs=20?"),
        (["procedure.sample=[1]"], "did you mean procedure.samples=[1]?"),
    ],
    ids=str,
)
def test_mistakes(here, capsys, words, said):
    assert main([*(["-m"] if "-m" in words else []), *START, *words[words.count("-m") :]]) == 2
    assert said in capsys.readouterr().err
