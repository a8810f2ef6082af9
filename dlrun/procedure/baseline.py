"""What any network must beat: a constant, a linear model, and a shallow network."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dlrun.engine.constant import best_constant
from dlrun.engine.evaluate import evaluate, samples
from dlrun.engine.run import Run
from dlrun.errors import Failure, Mistake
from dlrun.finding import NOTE, Finding
from dlrun.procedure import Lab, Outcome, RecordedRun, Training, procedure

SHARE = 5
"""A shallow network has one layer of so many that the recipe's has, and at least one."""
LINEAR = "dlrun.model.mlp.linear"

_log = logging.getLogger("dlrun")


@procedure(judged=False)
def baseline(lab: Lab) -> Outcome:
    """The procedure `baseline`: measures each on the validation split.

    Raises Mistake where there is nothing to predict, or nothing to measure it on.
    """
    run = lab.untrained()
    if run.reconstructs:
        raise Mistake("procedure=baseline: the model gives its input back; it has no target")
    if not len(run.val):
        raise Mistake("procedure=baseline: there is no validation split to measure on")
    first = "constant" if run.regression else "majority class"
    keys = [key for key in (run.monitor, f"val/{run.metric.name}") if key.startswith("val/")]
    found = {first: of_constant(run)}
    keys = list(dict.fromkeys([*keys, "val/loss"]))
    runs = _train(lab)
    found |= {name: _measured(one) for name, one in runs.items()}
    table = [
        {"model": name, **{key: values[key] for key in keys}} for name, values in found.items()
    ]
    each = ", ".join(f"{name} {values[keys[0]]:.4g}" for name, values in found.items())
    text = f"What any network must beat in {keys[0]}: {each}."
    numbers = {name: values[keys[0]] for name, values in found.items()}
    finding = Finding("baseline", NOTE, text, numbers, lab.command({}))
    return Outcome(runs=list(runs.values()), findings=[finding], table=table)


def of_constant(run: Run) -> dict[str, float]:
    """What validation finds of a model that says the same of every sample.

    It knows the targets of the training split alone, and says what makes their loss least; for
    the mean absolute error of numbers their median, which makes that least.
    """
    y = run.train.y[run.train.rows.to(run.train.y.device)].to(run.device)
    values = _of_answer(run, best_constant(run.loss, y, run.data.outputs))
    if run.regression and not run.labels:
        values["mae"] = _of_answer(run, y.median(0).values)["mae"]
    return {f"val/{name}": value for name, value in values.items()}


def _of_answer(run: Run, answer: Tensor) -> dict[str, float]:
    return evaluate(run, lambda x: answer.expand(len(x), -1), samples(run, run.val))


def shallow(model: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The settings of a network with a fifth of the layers, and what it is called.

    A fifth of the hidden layers or convolutions, the first ones; of a ResNet, of the blocks of
    each stage. None for a model that has no such layers.
    """
    name = str(model["_target_"]).removeprefix("dlrun.model.").rpartition(".")[2]
    layers = {"mlp": "hidden", "cnn": "channels", "vgg": "stages", "resnet": "depth"}.get(name)
    depth = model[layers] if layers else None
    if isinstance(depth, int):
        blocks = _fifth((depth - 2) // 6)
        return f"{name} of depth {6 * blocks + 2}", {"model.depth": 6 * blocks + 2}
    if not isinstance(depth, list) or not depth:
        return None
    flat = [each for part in depth for each in (part if isinstance(part, list) else [part])]
    kept = left = _fifth(len(flat))
    if name == "vgg":
        stages = []
        for stage in depth:
            stages += [stage[:left]] if left > 0 else []
            left -= len(stage)
        depth = stages
    settings = {f"model.{layers}": depth[:kept]}
    if name != "mlp" and model["hidden"]:
        settings["model.hidden"] = model["hidden"][: len(model["hidden"]) // SHARE]
    what = "hidden layers" if name == "mlp" else "convolutions"
    return f"{name} with {kept} of {len(flat)} {what}", settings


def _fifth(count: int) -> int:
    return max(1, round(count / SHARE))


def _train(lab: Lab) -> dict[str, RecordedRun]:
    """Train the linear model and the shallow network; what cannot be is left out, in one line."""
    assert lab.directory is not None  # begins the record, whose failure is not a network's
    plain = {"regularization": [], "augmentation": [], "initializer": "default"}
    wanted: dict[str, dict[str, Any]] = {"linear": {"model": "linear", **plain}}
    model, target = lab.recipe["model"], lab.recipe["model"]["_target_"]
    network = shallow(model)
    if target == LINEAR and not (lab.recipe["regularization"] or lab.recipe["augmentation"]):
        del wanted["linear"]
        _log.warning("linear is left out: it is the recipe's own model")
    if network is None:
        _log.warning(f"no shallow network: dlrun does not know how to make {target} shallower")
    elif all(model[key.removeprefix("model.")] == each for key, each in network[1].items()):
        _log.warning("no shallow network: the recipe's own is already that shallow")
    else:
        wanted[network[0]] = network[1]
    runs: dict[str, RecordedRun] = {}
    for name, settings in wanted.items():
        training = Training(name=name, settings={**settings, "preflight": "off"}, test=False)
        try:
            [runs[name]] = lab.train([training])
        except (Mistake, Failure) as error:
            _log.warning(f"{name} is left out: {error}")
    return runs


def _measured(run: RecordedRun) -> dict[str, float]:
    """What validation has found of the best weights of a run."""
    values = next(point["values"] for point in run.at_best if "val/loss" in point["values"])
    best = {k.replace("best/val_", "val/"): v for k, v in run.last.items() if k.startswith("best/")}
    return {key: value for key, value in (values | best).items() if key.startswith("val/")}
