"""The loop against a bare one, and each of its lines against what it promises."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from dlrun import record
from dlrun.engine.evaluate import measure, samples
from dlrun.engine.run import Run
from dlrun.engine.state import begin
from dlrun.engine.step import scaled_step
from dlrun.engine.train import train
from dlrun.errors import Failure
from dlrun.loss import Loss
from dlrun.optimizer import takes_closure
from dlrun.procedure.train import measured
from dlrun.recipe import build
from dlrun.regularization import Regularizer
from tests.bench import bare
from tests.conftest import Trained, Watcher


def whole(run: Run, split: str) -> tuple[Tensor, Tensor]:
    """A split as the model sees it, in its order."""
    feed = getattr(run, split)
    parts = list(samples(run, feed))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def test_same_weights_as_a_bare_loop(train_recipe, compose_recipe, digits):
    words = ["epochs=3", "batch_size=50", "monitor=train/loss", "schedule=cosine"]
    trained = train_recipe(*words)
    run = build.build(compose_recipe(*words), digits)
    feed = run.train
    bare.train(run.model, run.optimizer, (feed.x, feed.y), whole(run, "val"), run.order, 3, 50)
    last = torch.load(trained.directory / "checkpoints/last.pt", weights_only=True)["model"]
    for name, value in run.model.state_dict().items():
        assert torch.equal(last[name], value), name


def test_recorded_values_are_those_of_the_weights(train_recipe):
    trained = train_recipe("epochs=4", "schedule=constant")
    run = trained.run
    x, y = whole(run, "val")
    run.model.eval()
    with torch.no_grad():
        logits = run.model(x)
    best = trained.points[trained.state.runs[0].best_step // run.lengths.steps_per_epoch - 1][
        "values"
    ]
    assert best["val/loss"] == pytest.approx(float(cross_entropy(logits, y)), rel=1e-5)
    assert best["val/accuracy"] == float((logits.argmax(1) == y).double().mean())
    assert max(trained.values("val/accuracy")) == best["val/accuracy"]
    assert trained.values("lr") == [0.05] * 4
    assert [point["step"] for point in trained.points] == [34, 68, 102, 136]
    assert [point["epoch"] for point in trained.points] == [1, 2, 3, 4]
    assert next(iter(trained.points[0]["values"])) == "val/accuracy"


def test_train_loss_is_the_mean_over_samples(train_recipe):
    """With a rate of 0 the weights stay, and the mean over batches is that of the split."""
    trained = train_recipe("epochs=1", "optimizer=sgd", "optimizer.lr=0", "batch_size=50")
    run = trained.run
    x, y = whole(run, "train")
    assert len(y) % 50 != 0  # the last batch is smaller and weighs less
    with torch.no_grad():
        logits = run.model(x)
    [loss], [accuracy] = trained.values("train/loss"), trained.values("train/accuracy")
    assert loss == pytest.approx(float(cross_entropy(logits, y)), rel=1e-5)
    assert accuracy == pytest.approx(float((logits.argmax(1) == y).double().mean()), abs=1e-12)


def in_double(run: Run) -> None:
    """Compute in float64, so that sums in another order differ by little."""
    run.model.double()
    run.train = type(run.train)(run.train.x.double(), run.train.y, run.train.rows, True)
    run.val = type(run.val)(run.val.x.double(), run.val.y, run.val.rows, True)


def test_accumulated_batches_are_one_large_batch(train_recipe):
    words = ["epochs=2", "optimizer=momentum", "monitor=train/loss"]
    large = train_recipe(*words, "batch_size=96", change=in_double)
    small = train_recipe(*words, "batch_size=32", "accumulate=3", change=in_double)
    assert large.state.counters.step == small.state.counters.step
    for a, b in zip(large.run.model.parameters(), small.run.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        large.values("train/loss"), small.values("train/loss"), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        large.values("grad/norm"), small.values("grad/norm"), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    ("words", "steps"), [(["batch_size=full"], 3), (["batch_size=1"], 3 * 1078)]
)
def test_extreme_batches(train_recipe, words, steps):
    trained = train_recipe("epochs=3", "optimizer.lr=0.001", "model=linear", *words)
    assert trained.state.counters.step == steps
    losses = trained.values("train/loss")
    assert losses[-1] < losses[0]


def test_drop_last_leaves_out_the_smaller_batch(train_recipe):
    trained = train_recipe("epochs=2", "batch_size=50", "drop_last=true")
    assert trained.state.counters.step == 2 * (1078 // 50)
    assert trained.state.counters.epoch == 2


@pytest.mark.parametrize(
    ("epochs", "every", "steps"),
    [
        ("'50 steps'", "'20 steps'", [20, 40, 50]),
        ("2", "0.5", [17, 34, 51, 68]),
        ("2", "25%", [17, 34, 51, 68]),
    ],
)
def test_lengths_in_any_unit(train_recipe, epochs, every, steps):
    trained = train_recipe(f"epochs={epochs}", f"validate_every={every}", f"log_every={every}")
    assert [point["step"] for point in trained.points] == steps


def test_the_norm_of_the_gradient_is_limited(train_recipe):
    norms: list[float] = []

    def watch(run: Run) -> None:
        def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
            grads = [w.grad for w in run.weights if w.grad is not None]
            norms.append(float(nn.utils.get_total_norm(grads)))

        run.optimizer.register_step_pre_hook(look)

    trained = train_recipe("epochs=1", "clip_norm=0.5", change=watch)
    assert max(norms) == pytest.approx(0.5, rel=1e-4)
    assert trained.values("grad/norm")[0] > 0  # before clipping


def test_elements_of_the_gradient_are_limited(train_recipe):
    largest: list[float] = []

    def watch(run: Run) -> None:
        def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
            largest.append(max(float(w.grad.abs().max()) for w in run.weights))  # type: ignore[union-attr]

        run.optimizer.register_step_pre_hook(look)

    train_recipe("epochs=1", "clip_value=0.01", change=watch)
    assert max(largest) == pytest.approx(0.01)


def test_warmup_and_schedule_reach_the_optimizer(train_recipe):
    trained = train_recipe(
        *("epochs=3", "warmup='10 steps'", "schedule=cosine", "optimizer.lr=0.4"),
        *("log_every='1 steps'", "validate_every=3"),
    )
    total = trained.state.counters.step
    expected = [0.4 * (t + 1) / 10 for t in range(10)] + [
        0.2 * (1 + math.cos(math.pi * t / (total - 10))) for t in range(total - 10)
    ]
    assert trained.values("lr") == pytest.approx(expected)


def test_early_stopping_ends_the_run_with_the_best_weights(train_recipe):
    trained = train_recipe(
        *("epochs=200", "regularization=[early_stopping]", "optimizer.lr=0.2", "seed=3"),
        "regularization.early_stopping.patience='4 epochs'",
    )
    per_epoch = trained.run.lengths.steps_per_epoch
    accuracies = trained.values("val/accuracy")
    best = accuracies.index(max(accuracies))
    assert trained.state.runs[0].stopped
    assert trained.state.counters.step == (best + 1 + 4) * per_epoch
    x, y = whole(trained.run, "val")
    trained.run.model.eval()
    with torch.no_grad():
        accuracy = float((trained.run.model(x).argmax(1) == y).double().mean())
    assert accuracy == max(accuracies)


def test_validating_more_often_changes_nothing(train_recipe):
    words = ["epochs=2", "regularization=[dropout]", "monitor=train/loss"]
    seldom = train_recipe(*words)
    often = train_recipe(*words, "validate_every='3 steps'")
    assert seldom.values("train/loss") == often.values("train/loss")


def test_the_seed_is_all_there_is_to_chance(train_recipe):
    words = [
        "epochs=2",
        "regularization=[dropout]",
        "augmentation=[crop]",
        "augmentation.crop.padding=1",
    ]
    first, second, other = (train_recipe(*words, f"seed={seed}") for seed in (1, 1, 2))
    assert first.values("train/loss") == second.values("train/loss")
    assert first.values("val/loss") == second.values("val/loss")
    assert first.values("train/loss") != other.values("train/loss")


def test_a_loss_that_is_no_number_ends_the_run(train_recipe):
    with pytest.raises(
        Failure, match=r"became (nan|inf) at step \d+.*with a rate of 1e\+20.*optimizer\.lr"
    ) as error:
        train_recipe("epochs=3", "optimizer.lr=1e20", "schedule=constant", "model.hidden=[8]")
    assert error.value.exit_code == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_as_well(train_recipe, precision):
    exact = train_recipe("epochs=5")
    lower = train_recipe("epochs=5", f"precision={precision}")
    assert lower.values("train/loss") != exact.values("train/loss")
    assert lower.values("val/accuracy")[-1] >= exact.values("val/accuracy")[-1] - 0.03
    assert all(weight.dtype == torch.float32 for weight in lower.run.weights)


def test_channels_last_is_how_images_and_weights_lie(train_recipe):
    seen = []

    def watch(run: Run) -> None:
        first = next(m for m in run.model.modules() if isinstance(m, nn.Conv2d))
        first.register_forward_pre_hook(
            lambda module, args: seen.append(
                args[0].is_contiguous(memory_format=torch.channels_last)
            )
        )
        assert all(
            m.weight.is_contiguous(memory_format=torch.channels_last)
            for m in run.model.modules()
            if isinstance(m, nn.Conv2d)
        )

    words = ["epochs='4 steps'", "model=cnn", "batch_size=16"]
    lasts = train_recipe(*words, "channels_last=true", change=watch)
    plain = train_recipe(*words)
    assert seen
    assert all(seen)
    assert lasts.values("train/loss") == pytest.approx(plain.values("train/loss"), rel=1e-4)


@pytest.mark.slow
def test_a_compiled_model_learns_the_same_and_keeps_its_names(train_recipe):
    words = ["epochs='6 steps'", "batch_size=64", "validate_every='6 steps'"]
    plain, compiled = train_recipe(*words), train_recipe(*words, "compile=true")
    assert compiled.values("train/loss") == pytest.approx(plain.values("train/loss"), rel=1e-4)
    state = torch.load(compiled.directory / "checkpoints/last.pt", weights_only=True)
    assert state["model"].keys() == plain.run.model.state_dict().keys()


def test_an_optimizer_that_evaluates_the_loss_itself(train_recipe):
    def swap(run: Run) -> None:
        run.optimizer = torch.optim.LBFGS(run.weights, lr=1, max_iter=4)

    trained = train_recipe("epochs=5", "batch_size=full", "schedule=constant", change=swap)
    assert takes_closure(trained.run.optimizer)
    losses = trained.values("train/loss")
    assert losses[-1] < 0.5 * losses[0]


def test_the_norm_is_that_of_the_weights_whose_loss_is_recorded(train_recipe, monkeypatch):
    """However often the optimizer evaluates the loss in a step."""
    norms = []

    def watch(run: Run) -> None:
        x, y = whole(run, "train")
        step = run.optimizer.step

        def watched(closure: Callable[[], Tensor]) -> object:
            loss = run.objective(run.model(x), y)
            grads = torch.autograd.grad(loss, run.weights)
            norms.append(float(torch.nn.utils.get_total_norm(grads)))
            return step(closure)

        monkeypatch.setattr(run.optimizer, "step", watched)

    words = ("epochs=3", "batch_size=full", "optimizer=lbfgs", "schedule=constant")
    trained = train_recipe(*words, change=watch)
    assert trained.values("grad/norm") == pytest.approx(norms, rel=1e-4)


def test_the_time_of_an_epoch_is_that_of_all_its_batches(train_recipe, monkeypatch):
    monkeypatch.setattr("dlrun.engine.train.perf_counter", itertools.count().__next__)
    trained = train_recipe("epochs=1", "accumulate=4", "batch_size=8")
    [epoch], [elapsed] = trained.values("time/epoch"), trained.values("time/elapsed")
    assert epoch == pytest.approx(elapsed - 1), "all but the validation"


def test_training_on_keeps_the_rates(compose_recipe, digits, tmp_path):
    """A run that is trained in two calls goes through the rates of one."""

    class Halt(Regularizer):
        def should_stop(self, score: float, step: int) -> bool:
            return step == 68

    run = build.build(compose_recipe("epochs=4", "warmup='4 epochs'", "optimizer=sgd"), digits)
    run.stopping.append(Halt())
    kept = record.create(tmp_path, "test", {}, "")
    state = begin(run, kept)
    train(run, state, kept, Watcher())
    state.runs[0].stopped = False
    train(run, state, kept, Watcher())
    rates = [p["values"]["lr"] for p in kept.points() if "lr" in p["values"]]
    kept.close()
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_a_rule_judges_by_the_metric_it_asks_for(train_recipe):
    seen = []

    class Rule(Regularizer):
        metric = "val/loss"

        def should_stop(self, score: float, step: int) -> bool:
            seen.append(-score)
            return False

    trained = train_recipe("epochs=2", change=lambda run: run.stopping.append(Rule()))
    assert trained.run.monitor == "val/accuracy"
    assert seen == trained.values("val/loss")


def test_a_rule_that_judges_by_another_metric_does_not_choose_the_best(train_recipe):
    class Rule(Regularizer):
        metric, min_improvement = "val/loss", 1e9

        def should_stop(self, score: float, step: int) -> bool:
            return False

    trained = train_recipe("epochs=3", change=lambda run: run.stopping.append(Rule()))
    accuracies = trained.values("val/accuracy")
    assert accuracies[0] < max(accuracies)
    assert trained.state.runs[0].best_step == 34 * (accuracies.index(max(accuracies)) + 1)


def test_a_step_that_overflows_is_none():
    """What constrains or averages weights after a step leaves it out."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(weight.sum()).backward()
    assert scaled_step(scaler, optimizer)
    assert weight.tolist() == [0, 0]
    optimizer.zero_grad()
    scaler.scale(weight.sum() * torch.inf).backward()
    assert not scaled_step(scaler, optimizer)
    assert weight.tolist() == [0, 0]


@pytest.mark.parametrize("sampling", ["balanced", "stratified"])
def test_other_orders_of_an_epoch(train_recipe, sampling):
    trained = train_recipe("epochs=3", f"sampling={sampling}", "batch_size=50")
    rows = trained.run.order(0)
    counts = torch.bincount(trained.run.train.y[rows], minlength=10)
    if sampling == "balanced":
        assert counts.max() - counts.min() <= 1
    for batch in rows.split(50)[:-1]:
        assert len(trained.run.train.y[batch].unique()) == 10 or sampling == "balanced"
    assert trained.values("val/accuracy")[-1] > 0.9


def test_class_weights_weigh_what_is_minimized(train_recipe):
    trained = train_recipe(
        "epochs=1", "optimizer=sgd", "optimizer.lr=0", "class_weights=balanced", "batch_size=full"
    )
    run = trained.run
    x, y = whole(run, "train")
    counts = torch.bincount(y, minlength=10).double()
    with torch.no_grad():
        each = cross_entropy(run.model(x), y, reduction="none").double()
    by_class = torch.stack([each[y == label].mean() for label in range(10)])
    [objective], [loss] = trained.values("train/objective"), trained.values("train/loss")
    assert objective == pytest.approx(float(by_class.mean()), rel=1e-5)
    assert loss == pytest.approx(float(each.mean()), rel=1e-6)
    assert counts.max() > counts.min()


class Seen:
    """What the network gave for each training batch, and the targets and weights of then."""

    def __init__(self, run: Run) -> None:
        self.logits: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.penalties: list[tuple[float, float]] = []  # sum of absolute values, half of squares
        run.change_batch = [*run.change_batch, self]
        run.model.register_forward_hook(self.look)

    def change_batch(
        self, x: Tensor, y: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        self.targets.append(y if y.dim() > 1 else nn.functional.one_hot(y, 10))
        return x, y

    def look(self, model: nn.Module, inputs: object, logits: Tensor) -> None:
        if model.training:
            self.logits.append(logits.detach().double())
            weights = [w.detach().double() for w in model.parameters() if w.ndim > 1]
            sums = (sum(float(f(w)) for w in weights) for f in (_ones, _squares))
            self.penalties.append(tuple(sums))  # type: ignore[arg-type]


def _ones(weight: Tensor) -> Tensor:
    return weight.abs().sum()


def _squares(weight: Tensor) -> Tensor:
    return weight.square().sum() / 2


MINIMIZED = {
    "smoothing": (["regularization=[label_smoothing]"], 0.1, False, 0, 0),
    "weights": (["class_weights=balanced"], 0, True, 0, 0),
    "penalties": (["regularization=[dropout,l1,l2]"], 0, False, 1e-3, 1e-2),
    "mixed": (["regularization=[label_smoothing]", "augmentation=[mixup]"], 0.1, False, 0, 0),
    "all": (
        [
            *("regularization=[label_smoothing,l1,l2,dropout]", "class_weights=balanced"),
            *("augmentation=[cutmix]", "accumulate=3", "batch_size=40"),
        ],
        *(0.1, True, 1e-3, 1e-2),
    ),
    "half": (["regularization=[label_smoothing,l2]", "precision=fp16"], 0.1, False, 0, 1e-2),
}


@pytest.mark.parametrize("name", MINIMIZED)
@pytest.mark.parametrize("every", ["'1 steps'", "'13 steps'", "1"])
def test_the_loss_is_plain_and_the_objective_is_what_is_minimized(train_recipe, name, every):
    """Both against formulas, on the logits, the targets and the weights of every mini-batch."""
    words, amount, weighs, l1, l2 = MINIMIZED[name]
    strengths = [f"regularization.{n}.strength={v}" for n, v in (("l1", l1), ("l2", l2)) if v]
    seen: list[Seen] = []
    trained = train_recipe(
        *("epochs=2", "optimizer.lr=0.05", f"log_every={every}", *words, *strengths),
        change=lambda run: seen.append(Seen(run)),
    )
    [watched], run = seen, trained.run
    weights = torch.ones(10, dtype=torch.float64)
    if weighs:
        counts = torch.bincount(run.data.train.y[run.data.train.rows], minlength=10).double()
        weights = counts.sum() / (10 * counts)
    plain, minimized, hits, sizes, steps = [], [], [], [], []
    accumulate = run.lengths.accumulate
    per_epoch = -(-len(run.train) // run.lengths.batch_size)
    for logits, y, (ones, squares) in zip(
        watched.logits, watched.targets, watched.penalties, strict=True
    ):
        costs = -logits.log_softmax(1)
        smooth = y.double() * (1 - amount * 10 / 9) + amount / 9
        plain.append(float((costs * y).sum(1).mean()))
        minimized.append(float((costs * smooth * weights).sum(1).mean()) + l1 * ones + l2 * squares)
        hits.append(float((logits.argmax(1) == y.argmax(1)).sum()))
        sizes.append(len(y))
        epoch, batch = divmod(len(steps), per_epoch)
        steps.append(epoch * run.lengths.steps_per_epoch + batch // accumulate + 1)
    before = 0
    points = [point for point in trained.points if "train/loss" in point["values"]]
    for point in points:
        window = [i for i, step in enumerate(steps) if before < step <= point["step"]]
        before, many = point["step"], sum(sizes[i] for i in window)
        values = point["values"]
        for key, each in (("train/loss", plain), ("train/objective", minimized)):
            expected = sum(each[i] * sizes[i] for i in window) / many
            assert values[key] == pytest.approx(expected, rel=2e-3 if name == "half" else 2e-5)
        assert values["train/accuracy"] == pytest.approx(sum(hits[i] for i in window) / many)
        if l2:
            parts = [watched.penalties[i][1] * l2 * sizes[i] for i in window]
            assert values["train/l2"] == pytest.approx(sum(parts) / many, rel=1e-4)
    assert before == trained.state.counters.step


@pytest.mark.parametrize("optimizer", ["lbfgs", "line_search"])
def test_a_line_search_minimizes_the_objective(train_recipe, compose_recipe, digits, optimizer):
    """Of several evaluations in a step the first is recorded: that of the weights before it."""
    words = (
        *("epochs=3", f"optimizer={optimizer}", "batch_size=full", "schedule=constant"),
        *("regularization=[label_smoothing,l2]", "regularization.l2.strength=0.01"),
    )
    start = build.build(compose_recipe(*words), digits)
    x, y = whole(start, "train")
    with torch.no_grad():
        logits = start.model(x)
        plain = float(cross_entropy(logits, y))
        smooth = float(cross_entropy(logits, y, label_smoothing=0.1 * 10 / 9))
        squares = 0.005 * sum(float(w.square().sum()) for w in start.weights if w.ndim > 1)
    trained = train_recipe(*words)
    assert trained.values("train/loss")[0] == pytest.approx(plain, rel=1e-5)
    objectives = trained.values("train/objective")
    assert objectives[0] == pytest.approx(smooth + squares, rel=1e-5)
    assert objectives[2] < objectives[1] < objectives[0]


@pytest.mark.parametrize(
    "words",
    [
        ["regularization=[dropout,input_noise]", "augmentation=[mixup]"],
        ["model=autoencoder", "loss=mse"],
        ["optimizer=lbfgs", "batch_size=full"],
    ],
)
def test_where_the_loss_is_minimized_it_is_computed_once(train_recipe, words):
    calls = []

    def count(run: Run) -> None:
        loss = run.loss
        assert run.objective is loss

        def counted(logits: Tensor, y: Tensor) -> Tensor:
            calls.append(run.model.training)
            return loss(logits, y)

        run.loss = run.objective = Loss(counted)
        run.model.register_forward_hook(lambda model, inputs, y: calls.append(None))

    trained = train_recipe("epochs=1", *words, change=count)
    assert calls.count(True) + calls.count(False) == calls.count(None)
    assert trained.values("train/objective") == []


def test_validation_and_training_losses_can_be_compared(train_recipe):
    """With weights that stay, train/loss is what val/loss would be of the training split."""
    words = ["regularization=[label_smoothing,l2]", "class_weights=balanced", "epochs=1"]
    trained = train_recipe(*words, "optimizer=sgd", "optimizer.lr=0", "monitor=train/loss")
    found = measure(trained.run, trained.run.train)
    loss, accuracy = found["loss"], found["accuracy"]
    assert trained.values("train/loss") == [pytest.approx(loss, rel=1e-6)]
    assert trained.values("train/accuracy") == [pytest.approx(accuracy)]
    assert trained.state.runs[0].best_score == -trained.values("train/loss")[0]
    assert trained.values("train/objective")[0] > 1.001 * loss


def test_regression_has_one_loss_and_penalties_beside_it(train_recipe, digits):
    rule = ["regularization=[l2]", "regularization.l2.strength=0.1"]
    trained = train_recipe("epochs=2", *rule, "loss=mse", "model=autoencoder")
    for values in (point["values"] for point in trained.points):
        assert values["train/objective"] == pytest.approx(values["train/loss"] + values["train/l2"])
        assert values["train/l2"] > 0


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_the_rate_scales_with_the_batch(train_recipe, rule, factor):
    trained = train_recipe(
        *("epochs=1", "batch_size=32", "accumulate=2", "base_batch_size=16"),
        *(f"scale_lr={rule}", "optimizer.lr=0.01", "schedule=constant"),
    )
    assert trained.values("lr") == [pytest.approx(0.01 * factor)]


@pytest.mark.parametrize(
    "optimizer",
    [
        ["optimizer=sgd"],
        ["optimizer=sam", "optimizer.momentum=0.0"],
        ["optimizer=sam", "optimizer.base=adamw"],
    ],
)
def test_decay_of_weights_alone(optimizer, train_recipe):
    """With no gradient but decay, weights shrink by the factor and biases stay."""
    before: dict[str, Tensor] = {}

    def silence(run: Run) -> None:
        before.update({name: value.clone() for name, value in run.model.state_dict().items()})
        run.objective = Loss(lambda logits, y: (logits * 0).sum())

    trained = train_recipe(
        *("epochs='3 steps'", *optimizer, "optimizer.lr=0.1", "optimizer.weight_decay=0.5"),
        *("decay=weights", "schedule=constant"),
        change=silence,
    )
    last = torch.load(trained.directory / "checkpoints/last.pt", weights_only=True)["model"]
    for name, value in last.items():
        factor = 1.0 if name.endswith("bias") else (1 - 0.1 * 0.5) ** 3
        torch.testing.assert_close(value, before[name] * factor)


def last_weights(trained: Trained) -> dict[str, Tensor]:
    """Those of the last step, whichever were the best."""
    saved = torch.load(trained.directory / "checkpoints/last.pt", weights_only=True)
    return saved["model"]


def lengths_and_directions(run: Run) -> list[tuple[Tensor, Tensor]]:
    made = [m for m in run.model.modules() if isinstance(m, parametrize.ParametrizationList)]
    return [(one.original0, one.original1) for one in made]


@pytest.mark.parametrize(
    "words",
    [
        ("decay=weights", "optimizer.weight_decay=0.5", "regularization=[weight_norm]"),
        ("regularization=[l2,weight_norm]", "regularization.l2.strength=0.5"),
        ("regularization=[weight_norm,l2]", "regularization.l2.strength=0.5"),
    ],
)
def test_decay_of_weights_is_that_of_the_computed_ones(train_recipe, words):
    """g·v/‖v‖ shrinks by the factor, biases and v stay: as L2 of the weights would have it."""
    before: dict[str, Any] = {}

    def silence(run: Run) -> None:
        pairs = lengths_and_directions(run)
        before["w"] = [(g * v / v.norm(dim=1, keepdim=True)).detach() for g, v in pairs]
        before["v"] = [v.detach().clone() for _, v in pairs]
        run.objective = Loss(lambda logits, y: (logits * 0).sum())

    same = ("epochs='3 steps'", "optimizer=sgd", "optimizer.lr=0.1", "schedule=constant")
    trained = train_recipe(*same, "model.hidden=[6]", *words, change=silence)
    trained.run.model.load_state_dict(last_weights(trained))
    expected = zip(before["w"], before["v"], strict=True)
    for (g, v), (old, direction) in zip(lengths_and_directions(trained.run), expected, strict=True):
        w = g * v / v.norm(dim=1, keepdim=True)
        torch.testing.assert_close(w, old * (1 - 0.1 * 0.5) ** 3)
        assert torch.equal(v, direction)


def test_penalties_are_recorded_of_the_computed_weights(train_recipe):
    words = ("epochs='5 steps'", "log_every='5 steps'", "model.hidden=[6]")
    words += ("optimizer=sgd", "optimizer.lr=1e-30")  # so that the mean of the steps is that of all
    penalties = ("regularization=[weight_norm,l1,l2]", "regularization.l2.strength=0.5")
    trained = train_recipe(*words, *penalties, "regularization.l1.strength=0.25")
    trained.run.model.load_state_dict(last_weights(trained))
    pairs = lengths_and_directions(trained.run)
    weights = [(g * v / v.norm(dim=1, keepdim=True)).detach().double() for g, v in pairs]
    squares = sum(float(w.square().sum()) for w in weights)
    sizes = sum(float(w.abs().sum()) for w in weights)
    assert trained.values("train/l2")[-1] == pytest.approx(0.25 * squares, rel=1e-5)
    assert trained.values("train/l1")[-1] == pytest.approx(0.25 * sizes, rel=1e-5)


def test_muon_turns_directions_and_leaves_lengths_to_adamw(compose_recipe, digits):
    words = ("model.hidden=[6,5]", "regularization=[weight_norm]", "optimizer=muon")
    for more in ((), ("decay=weights", "optimizer.weight_decay=0.1")):
        run = build.build(compose_recipe(*words, *more), digits)
        pairs = lengths_and_directions(run)
        by_muon = {
            id(p) for group in run.optimizer.param_groups if group["muon"] for p in group["params"]
        }
        assert by_muon == {id(v) for _, v in pairs[:-1]}  # the last matrix is AdamW's
        for group in run.optimizer.param_groups if more else ():
            shrinks = {id(g) for g, _ in pairs} & {id(p) for p in group["params"]}
            assert group["weight_decay"] == (0.1 if shrinks else 0.0)
            assert len(shrinks) in (0, len(group["params"]))


def test_decoupled_decay_has_the_rate_that_each_weight_is_trained_with(train_recipe):
    """With Muon the last matrix is AdamW's and has its rate; no gradient moves them else."""
    before: dict[str, Tensor] = {}

    def silence(run: Run) -> None:
        before.update({name: value.clone() for name, value in run.model.state_dict().items()})
        run.objective = Loss(lambda logits, y: (logits * 0).sum())

    trained = train_recipe(
        *("epochs='4 steps'", "optimizer=muon", "optimizer.lr=0.2", "optimizer.adamw_lr=0.03"),
        *("schedule=linear", "model.hidden=[6,5]", "regularization=[l2]"),
        *("regularization.l2.decoupled=true", "regularization.l2.strength=0.5"),
        change=silence,
    )
    run, last = trained.run, last_weights(trained)
    final = [name for name in last if name.endswith("weight")][-1]
    assert run.rates == [0.2, 0.03]
    for name, value in last.items():
        rate = 0.03 if name == final else 0.2
        rates = [rate * run.schedule(step, 4, run.lengths.steps_per_epoch) for step in range(4)]
        factor = math.prod(1 - 0.5 * now for now in rates) if name.endswith("weight") else 1.0
        torch.testing.assert_close(value, before[name] * factor)


def test_what_is_measured_is_the_loss_alone(train_recipe):
    """Label smoothing changes what is trained, not what validation says."""
    words = ["epochs=2", "optimizer.lr=0", "optimizer=sgd"]
    plain = train_recipe(*words)
    smooth = train_recipe(*words, "regularization=[label_smoothing]")
    assert smooth.values("val/loss") == plain.values("val/loss")
    assert smooth.values("train/loss") == plain.values("train/loss")
    assert smooth.values("train/objective") != plain.values("train/loss")


def test_averaged_weights_are_what_is_evaluated_and_kept(train_recipe):
    words = ["epochs=4", "regularization=[weight_average]", "schedule=constant"]
    trained = train_recipe(*words)
    run = trained.run
    x, y = whole(run, "val")
    run.model.eval()
    with torch.no_grad():
        loss = float(cross_entropy(run.model(x), y))
    best = trained.points[trained.state.runs[0].best_step // run.lengths.steps_per_epoch - 1][
        "values"
    ]
    assert best["val/loss"] == pytest.approx(loss, rel=1e-5)
    last = torch.load(trained.directory / "checkpoints/last.pt", weights_only=True)
    kept = torch.load(trained.directory / "checkpoints/best.pt", weights_only=True)
    name = next(iter(kept))
    assert not torch.equal(last["model"][name], kept[name])
    assert torch.equal(run.model.state_dict()[name], kept[name])


def test_an_autoencoder_learns_its_input(train_recipe):
    trained = train_recipe("epochs=3", "model=autoencoder", "loss=mse", "optimizer=adam")
    run = trained.run
    x, _ = whole(run, "val")
    run.model.eval()
    with torch.no_grad():
        error = float(((run.model(x) - x) ** 2).mean())
    assert min(trained.values("val/loss")) == pytest.approx(error, rel=1e-5)
    losses = trained.values("val/loss")
    assert losses[-1] < losses[0] < 1.1
    assert "val/mae" in trained.points[0]["values"]


@pytest.mark.proves("test_augmentation=center_crop")
def test_trained_on_crops_and_evaluated_on_the_middle(train_recipe, digits):
    """Where augmentation makes images smaller, validation takes the middle of each."""
    trained = train_recipe(
        *("epochs=2", "augmentation=[scale_crop]", "augmentation.scale_crop.size=6"),
        *("augmentation.scale_crop.short=[8,9]", "optimizer=adam"),
    )
    run = trained.run
    x = digits.val.x[digits.val.rows][:, :, 1:7, 1:7]
    y = digits.val.y[digits.val.rows]
    run.model.eval()
    with torch.no_grad():
        accuracy = float((run.model(run.preprocessing(x)).argmax(1) == y).double().mean())
    assert accuracy == max(trained.values("val/accuracy"))


CROPPED = ("epochs=1", "augmentation=[scale_crop]", "augmentation.scale_crop.size=6")


@pytest.mark.parametrize("model", ["linear", "cnn"])
def test_mirrored_views_have_the_size_that_the_model_is_trained_on(train_recipe, digits, model):
    small = ("model.channels=[8]",) if model == "cnn" else ()
    words = (*CROPPED, "augmentation.scale_crop.short=[8,9]", f"model={model}", *small)
    run = train_recipe(*words, "test_augmentation=flip").run
    x = digits.test.x[digits.test.rows][:, :, 1:7, 1:7]
    y = digits.test.y[digits.test.rows]
    run.model.eval()
    with torch.no_grad():
        both = [run.model(run.preprocessing(view)).softmax(1) for view in (x, x.flip(3))]
    mean = torch.stack(both).mean(0)
    values = measured(run, "test")
    assert values["test/accuracy"] == float((mean.argmax(1) == y).double().mean())
    expected = -mean.gather(1, y[:, None]).log().mean()
    assert values["test/loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("size", "side"), [("null", 8), ("7", 7), ("${facts.shape}", 6)])
def test_views_with_a_size_have_it_whatever_the_model_is_trained_on(
    train_recipe, digits, size, side
):
    words = (*CROPPED, "augmentation.scale_crop.short=[8,9]", "model=cnn", "model.channels=[8]")
    views = ("test_augmentation=center_crop", f"test_augmentation.size={size}")
    run = train_recipe(*words, *views).run
    at = (8 - side) // 2
    x = digits.test.x[digits.test.rows][:, :, at : at + side, at : at + side]
    y = digits.test.y[digits.test.rows]
    run.model.eval()
    with torch.no_grad():
        logits = run.model(run.preprocessing(x))
    expected = torch.nn.functional.cross_entropy(logits, y)
    assert measured(run, "test")["test/loss"] == pytest.approx(float(expected), rel=1e-4)


def test_views_are_averaged_as_probabilities(train_recipe, digits):
    trained = train_recipe("epochs=2", "test_augmentation=flip", "model=linear")
    run = trained.run
    x = digits.test.x[digits.test.rows]
    y = digits.test.y[digits.test.rows]
    run.model.eval()
    with torch.no_grad():
        both = [run.model(run.preprocessing(view)).softmax(1) for view in (x, x.flip(3))]
    mean = torch.stack(both).mean(0)
    values = measured(run, "test")
    assert values["test/accuracy"] == float((mean.argmax(1) == y).double().mean())
    expected = -mean.gather(1, y[:, None]).log().mean()
    assert values["test/loss"] == pytest.approx(float(expected), rel=1e-4)


def test_the_test_split_is_measured_with_the_best_average(train_recipe):
    """Not with the last one: later averages are worse here, the rate being far too high."""
    trained = train_recipe(
        *("epochs=6", "optimizer=asgd", "optimizer.lr=2", "schedule=constant", "seed=1")
    )
    kept = torch.load(trained.directory / "checkpoints/best.pt", weights_only=True)
    measured(trained.run, "test")
    for name, value in trained.run.model.state_dict().items():
        assert torch.equal(value, kept[name])
    assert trained.run.averaging == []


class Shifted(torch.optim.SGD):
    """Trains its weights where they are, and is evaluated with them doubled."""

    def train(self):
        self._scale(0.5)

    def eval(self):
        self._scale(2.0)

    def _scale(self, factor):
        if getattr(self, "factor", 1.0) * factor in (1.0, 2.0):
            self.factor = getattr(self, "factor", 1.0) * factor
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.mul_(factor)


def test_an_optimizer_that_switches_is_evaluated_with_its_other_weights(train_recipe):
    def change(run):
        run.optimizer = Shifted(run.weights, lr=0.0)
        run.modes = run.optimizer
        run.start = [weight.detach().clone() for weight in run.weights]

    trained = train_recipe("epochs=2", "optimizer=sgd", change=change)
    run = trained.run
    for now, start in zip(run.weights, run.start, strict=True):
        torch.testing.assert_close(now, 2 * start, rtol=0, atol=0)
    found = measure(run, run.val)
    loss, accuracy = found["loss"], found["accuracy"]
    assert trained.values("val/loss") == pytest.approx([loss, loss], rel=1e-6)
    assert trained.values("val/accuracy") == pytest.approx([accuracy, accuracy])
    last = torch.load(trained.directory / "checkpoints/last.pt", weights_only=True)
    for saved, start in zip(last["model"].values(), run.start, strict=True):
        torch.testing.assert_close(saved, start, rtol=0, atol=0)


def test_parameters_that_join_later_are_trained_from_then_on(train_recipe):
    def change(run):
        frozen = run.weights[:2]
        rest = run.weights[2:]
        run.optimizer = torch.optim.SGD(rest, lr=0.1)
        for weight in frozen:
            weight.requires_grad_(False)
        run.start = [weight.detach().clone() for weight in frozen]
        order = run.order

        def joining(epoch):
            if epoch == 1 and len(run.optimizer.param_groups) == 1:
                run.at_joining = [weight.detach().clone() for weight in frozen]
                for weight in frozen:
                    weight.requires_grad_(True)
                run.optimizer.add_param_group({"params": frozen, "lr": 0.01})
            return order(epoch)

        run.order = joining

    trained = train_recipe("epochs=3", "schedule=constant", "monitor=train/loss", change=change)
    run = trained.run
    assert all(map(torch.equal, run.start, run.at_joining))
    assert run.rates == [0.1, 0.01]
    assert not any(map(torch.equal, run.start, run.weights[:2]))


@pytest.mark.parametrize(
    "optimizer",
    [
        ("optimizer=nesterov", "optimizer.form=classical"),
        ("optimizer=asgd", "optimizer.start='20 steps'", "optimizer.lr=1"),
        ("optimizer=schedulefree_sgd", "optimizer.lr=1"),
    ],
)
def test_weights_that_are_evaluated_keep_their_limit(train_recipe, optimizer):
    words = ("epochs=2", "regularization=[max_norm]", "regularization.max_norm.limit=0.5")
    trained = train_recipe(*words, *optimizer)
    layers = [layer for layer in trained.run.model.modules() if isinstance(layer, nn.Linear)]
    longest = max(float(layer.weight.detach().norm(dim=1).max()) for layer in layers)
    assert 0.45 < longest < 0.50001


@pytest.mark.parametrize("optimizer", ["nesterov", "momentum"])
def test_a_proximal_step_gives_exact_zeros_behind_a_look_ahead(train_recipe, optimizer):
    words = ("epochs=2", f"optimizer={optimizer}", "optimizer.form=classical")
    words += ("regularization=[l1]", "regularization.l1.form=proximal")
    trained = train_recipe(*words, "regularization.l1.strength=0.1")
    weight = trained.run.weights[0].detach()
    assert 0.01 < float((weight == 0).double().mean()) < 1
