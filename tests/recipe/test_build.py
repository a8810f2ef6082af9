"""What build makes of several settings at once."""

import weakref
from dataclasses import replace

import pytest
import torch

from dlrun.data import Data, Split
from dlrun.engine.state import take_preprocessing
from dlrun.errors import Mistake
from dlrun.job.session import Session
from dlrun.model.order import output_of, weight_layers
from dlrun.recipe import build, checks
from dlrun.recipe.catalogue import packaged

NETWORKS = (
    *("linear", "mlp", "cnn", "lenet", "resnet", "vgg", "autoencoder", "locally_connected"),
    *("torchvision", "timm"),
)


@pytest.fixture
def sorted_by_class():
    """Three classes of 120 images, one after the other, that differ in brightness."""
    generator = torch.Generator().manual_seed(0)
    level = torch.tensor([30.0, 120.0, 220.0]).repeat_interleave(120)
    x = torch.randn(360, 3, 12, 12, generator=generator) * 12 + level[:, None, None, None]
    y = torch.arange(3).repeat_interleave(120)
    splits = [Split(x.clamp(0, 255).byte(), y, torch.arange(start, 360, 12)) for start in (10, 11)]
    train = Split(splits[0].x, y, torch.tensor([row for row in range(360) if row % 12 < 10]))
    return Data("bright", train, *splits, (3, 12, 12), ("dark", "grey", "light"), 3, "")


@pytest.mark.parametrize(
    ("words", "least"),
    [(("initializer=lsuv",), 0.8), (("initializer=data_dependent", "initializer.rounds=0"), 0.8)],
)
def test_initializers_see_all_classes_of_a_set_that_is_sorted(
    compose_recipe, sorted_by_class, words, least
):
    """Variances are 1; fitted to the first 64 rows, which are of one class, they are 3 to 26."""
    network = ("model=cnn", "model.channels=[8,12]", "model.hidden=[20]")
    for seed in (0, 1, 2):
        run = build.build(compose_recipe(*network, *words, f"seed={seed}"), sorted_by_class)
        x = run.preprocessing(sorted_by_class.train.x[sorted_by_class.train.rows])
        for layer in weight_layers(run.model, x):
            out = output_of(layer, run.model, x)
            by_unit = out.movedim(1, 0).flatten(1).var(1, correction=0)
            found = out.var(correction=0) if len(words) == 1 else by_unit.mean()
            assert least < found < 1 / least


def test_bce_looks_at_every_image_that_it_is_to_give_back(compose_recipe, sorted_by_class):
    x = sorted_by_class.train.x / 255
    x[-3] = 1.7  # one image of the last class
    splits = {
        name: replace(getattr(sorted_by_class, name), x=x) for name in ("train", "val", "test")
    }
    words = ("model=autoencoder", "loss=bce", "preprocessing=none")
    with pytest.raises(Mistake, match=r"loss=bce: takes targets between 0 and 1, .* to 1\.7"):
        build.build(compose_recipe(*words), replace(sorted_by_class, **splits))


def test_mixup_mixes_several_labels_at_once_and_refuses_numbers(compose_recipe):
    x, y = torch.randn(40, 5), torch.randint(0, 2, (40, 3)).float()
    splits = [Split(x, y, rows) for rows in torch.arange(40).split([20, 10, 10])]
    labelled = Data("labelled", *splits, (5,), (), 3, "")
    words = ("augmentation=[mixup]", "augmentation.mixup.alpha=10", "model=linear")
    run = build.build(compose_recipe(*words), labelled)
    mixed_x, mixed_y = run.augmentation(x, y, torch.Generator().manual_seed(0))
    between = (mixed_y > 0) & (mixed_y < 1)
    assert between.double().mean() > 0.3
    assert not torch.equal(mixed_x, x)
    assert ((mixed_y >= 0) & (mixed_y <= 1)).all()
    numbers = [replace(split, y=y + 0.5) for split in splits]
    with pytest.raises(Mistake, match=r"augmentation\.mixup: mixes classes, and .* regression"):
        build.build(compose_recipe(*words), Data("numbers", *numbers, (5,), (), 3, ""))


@pytest.fixture
def uneven(digits):
    """The digits with few of the lower ones, so that their weights differ."""
    rows = digits.train.rows
    y = digits.train.y[rows]
    kept = rows[(y > 4) | (torch.arange(len(rows)) % 8 == 0)]
    return replace(digits, train=Split(digits.train.x, digits.train.y, kept))


@pytest.mark.parametrize("smoothing", ["none", "[label_smoothing]"])
def test_weighted_classes_in_accumulated_mini_batches(train_recipe, uneven, smoothing):
    """4×8 samples are 1×32, whatever classes each of the four has."""
    words = ("epochs=2", "class_weights=balanced", "model=linear", f"regularization={smoothing}")
    large = train_recipe(*words, "batch_size=32", data=uneven)
    small = train_recipe(*words, "batch_size=8", "accumulate=4", data=uneven)
    assert small.state.counters.step == large.state.counters.step
    for one, other in zip(small.run.weights, large.run.weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        small.values("train/loss"), large.values("train/loss"), rtol=1e-5, atol=0
    )


def test_of_a_very_large_split_preprocessing_learns_a_sample_that_is_drawn(
    compose_recipe, digits, monkeypatch, caplog
):
    whole = build.build(compose_recipe(), digits).preprocessing
    assert "learned" not in caplog.text
    monkeypatch.setattr(build, "_FITTED", 500 * 64)
    some = build.build(compose_recipe(), digits).preprocessing
    assert "is learned of 500 of 1,078 training samples" in caplog.text
    again = build.build(compose_recipe(), digits).preprocessing
    for one, other, same in zip(*(each.buffers() for each in (whole, some, again)), strict=True):
        assert torch.equal(other, same)
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.01)
    assert not torch.equal(next(whole.buffers()), next(some.buffers()))


def feeds(run):
    """What lies ready for the model of a run."""
    return [run.train, run.val]


def alike(a, b):
    """Whether two runs hold one copy of their splits between them."""
    return [one is other for one, other in zip(feeds(a), feeds(b), strict=True)] == [True, True]


@pytest.fixture
def tries(monkeypatch):
    """The seeds of the recipes whose first step is tried."""
    seeds, check_step = [], checks.check_step

    def counted(config, *args):
        seeds.append(config.seed)
        check_step(config, *args)

    monkeypatch.setattr(checks, "check_step", counted)
    return seeds


def built(compose_recipe, data, *words):
    """The weights that a recipe begins with, and the random numbers of its training."""
    run = build.build(compose_recipe(*words), data)
    return run.model.state_dict() | {"random": torch.get_rng_state()}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_that_is_sound_is_not_tried_again_for_other_seeds(
    compose_recipe, uneven, tries, name
):
    """And who is not tried begins as if it had been."""
    if name == "timm":
        pytest.importorskip("timm")
    words = (f"model={name}", "regularization=[dropout]")
    first = built(compose_recipe, uneven, *words)
    built(compose_recipe, uneven, *words, "seed=1", "optimizer.lr=0.3")
    again = built(compose_recipe, uneven, *words)
    assert tries == [0]
    assert first.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in first.items())


@pytest.mark.parametrize(
    "word",
    [
        *("model.hidden=[7]", "activation=tanh", "loss=mse", "batch_size=7", "initializer=he"),
        *("regularization=[l1]", "preprocessing=none", "class_weights=balanced", "preflight=off"),
    ],
)
def test_another_network_is_tried(compose_recipe, uneven, tries, word):
    for words in ((), (word, "seed=1")):
        built(compose_recipe, uneven, "model=mlp", *words)
    assert tries == [0, 1]


class Doubling(torch.nn.Linear):
    """Changes its input."""

    def forward(self, x):
        return super().forward(x.flatten(1).mul_(2))


def test_a_network_of_ones_own_is_tried_each_time(compose_recipe, uneven, tries):
    own = ("model=custom", f"model._target_={__name__}.Doubling")
    for seed in (0, 1):
        words = (*own, "+model.in_features=64", "+model.out_features=10", f"seed={seed}")
        assert checks.gets_copies(build.build(compose_recipe(*words), uneven).model)
    assert tries == [0, 1]


def test_runs_on_the_same_data_hold_one_copy_of_what_lies_ready(compose_recipe, digits):
    first, second = (build.build(compose_recipe(f"seed={n}"), digits) for n in (1, 2))
    assert alike(first, second)
    assert first.preprocessing is not second.preprocessing


@pytest.mark.parametrize(
    "word",
    [
        "preprocessing=none",
        "preprocessing=center",
        "preprocessing=[center,standardize]",
        "preprocessing.standardize._target_=tests.recipe.test_build.Halved",
    ],
)
def test_runs_with_another_preprocessing_do_not_share(compose_recipe, digits, word):
    first = build.build(compose_recipe(), digits)
    other = build.build(compose_recipe(word), digits)
    assert not any(one is each for one, each in zip(feeds(first), feeds(other), strict=True))
    assert alike(first, build.build(compose_recipe(), digits))  # which lives, and so is found


def test_runs_on_another_split_do_not_share(compose_recipe):
    recipes = [compose_recipe(f"data.split_seed={seed}") for seed in (0, 1)]
    first, other = (build.build(recipe, Session().data(recipe)) for recipe in recipes)
    assert not torch.equal(first.train.x, other.train.x)


def test_what_is_validated_and_measured_of_a_part_is_shared_by_its_size(compose_recipe, digits):
    words = ("validate_on=100", "train_eval=true")
    first, second = (build.build(compose_recipe(*words), digits) for _ in range(2))
    assert first.val is second.val
    assert first.train_eval is second.train_eval
    whole = build.build(compose_recipe(), digits)
    assert len(whole.val) == len(digits.val)


def test_a_run_that_writes_into_its_samples_does_not_reach_the_next(compose_recipe, digits):
    first = build.build(compose_recipe(), digits)
    before = first.train.x.clone()
    first.train.x.zero_()
    assert torch.equal(build.build(compose_recipe(), digits).train.x, before)


def test_a_run_that_takes_other_preprocessing_does_not_reach_its_neighbour(compose_recipe, digits):
    first, second = (build.build(compose_recipe(), digits) for _ in range(2))
    x, before = second.train.x.clone(), second.preprocessing.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    fitted = {name: value * 2 for name, value in before.items()}
    assert take_preprocessing(first, fitted)
    assert torch.equal(second.train.x, x)
    for name, value in second.preprocessing.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(first.train.x, x)
    assert torch.equal(build.build(compose_recipe(), digits).train.x, x)


def test_what_nobody_needs_any_more_is_let_go(compose_recipe, digits):
    run = build.build(compose_recipe(), digits)
    lasting = weakref.ref(run.train.x)
    del run
    assert lasting() is not None  # the next run may need it
    build.build(compose_recipe("preprocessing=center"), digits)
    assert lasting() is None


class Halved(torch.nn.Module):
    """A step of the user's own."""

    def __init__(self, **rest):
        super().__init__()

    def forward(self, x):
        return x / 2


@pytest.mark.parametrize(
    "name",
    [
        path.stem
        for path in (packaged() / "optimizer").glob("*.yaml")
        if "\neps: " in path.read_text()
    ],
)
def test_no_optimizer_divides_by_nothing(compose_recipe, name):
    recipe = compose_recipe(f"optimizer={name}", "optimizer.eps=0")
    with pytest.raises(Mistake, match=r"^optimizer\.eps=0: must be above 0, such as 1e-8"):
        build.descent_of(recipe, torch.nn.Linear(2, 1), 3)


def test_a_sum_that_begins_above_0_needs_no_eps(compose_recipe):
    words = ("optimizer=adagrad", "optimizer.eps=0", "optimizer.initial_accumulator_value=0.1")
    optimizer, _ = build.descent_of(compose_recipe(*words), torch.nn.Linear(2, 1), 3)
    assert optimizer.defaults["eps"] == 0


def counted(n: int, report=None):
    """A set of one's own that tells how far it is."""
    x = torch.rand(n, 3)
    return x, x.sum(1)


@pytest.mark.parametrize(
    "words",
    [
        ["data=imagefolder", "data.root=.", "+data.partly=true"],
        ["data=imagefolder", "data.root=.", "+data.report=null"],
        ["data=custom", f"data._target_={__name__}.counted", "+data.n=20", "+data.report=x.txt"],
    ],
)
def test_what_a_set_gets_from_the_program_cannot_be_typed(compose_recipe, words):
    word = words[-1].removeprefix("+")
    with pytest.raises(Mistake, match=rf"^{word}: is no setting, .*; leave it out$"):
        build.read_data(compose_recipe(*words))
    read = build.read_data(
        compose_recipe("data=custom", f"data._target_={__name__}.counted", "+data.n=20")
    )
    assert len(read.x) == 20
