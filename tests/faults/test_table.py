"""The planted faults as tables: complete, fair, composed by dlrun, and proved to be broken."""

import re
import shlex
from collections import Counter

import numpy as np
import pytest

from dlrun.finding import NAMES
from dlrun.recipe import build, compose
from tests.faults import fresh, measure, parts, sets, table
from tests.faults.fresh import FRESH
from tests.faults.measure import ALL
from tests.faults.table import FAULTS, KINDS, STRENGTHS, Fault, half, healthy

FRESH_HEALTHY = healthy(FRESH, fresh.SOUND)
RECIPES = [
    *((fault.name, fault.words) for fault in ALL),
    *healthy().items(),
    *FRESH_HEALTHY.items(),
]
each_table = pytest.mark.parametrize(
    ("faults", "sound", "data"),
    [(FAULTS, healthy(), table.DATA), (FRESH, FRESH_HEALTHY, fresh.DATA)],
    ids=["table", "fresh"],
)


def by_length(recipe):
    return -len(shlex.split(recipe[1]))


def test_each_recipe_has_a_name_of_its_own():
    names = Counter(name for name, _ in RECIPES)
    assert max(names.values()) == 1


@each_table
def test_there_are_enough_of_both(faults, sound, data):
    assert len(faults) >= 48
    assert len(sound) >= 48
    assert len({frozenset(shlex.split(words)) for words in sound.values()}) == len(sound)
    assert not {fault.words for fault in faults} & set(sound.values())


def test_the_fresh_set_is_of_other_data():
    def bases(recipes):
        return {base for words in recipes for base in re.findall(r"\{sets\}/([a-z]+)", words)}

    old, new = (
        [*(fault.words for fault in faults), *sound.values()]
        for faults, sound in ((FAULTS, healthy()), (FRESH, FRESH_HEALTHY))
    )
    assert not bases(old) & bases(new)
    assert not any("data=digits" in words for words in new)
    assert not any("data=toy" in words for words in old)


def test_each_kind_stands_on_two_kinds_of_data():
    for kind in KINDS:
        assert len({fault.data for fault in FAULTS if fault.kind == kind}) >= 2, kind
    assert {fault.kind for fault in FAULTS} == set(KINDS)
    assert len(KINDS) == 24 + 13


def test_dense_and_convolutional_networks_are_broken_on_each_kind_of_data():
    for kind in table.DATA:
        assert sum(fault.data == kind for fault in FAULTS) >= 10, kind
    convolutional = [f for f in FAULTS if "model=cnn" in f.words or "+model.channels" in f.words]
    assert len(convolutional) >= 12
    assert len(FAULTS) - len(convolutional) >= 12


def test_strengths_are_shared_out():
    found = Counter(fault.strength for fault in FAULTS if fault.strength)
    assert set(found) == set(STRENGTHS)
    assert min(found.values()) >= 12


def test_the_fresh_set_is_of_most_kinds_all_data_and_all_strengths():
    on = {kind: {fault.data for fault in FRESH if fault.kind == kind} for kind in KINDS}
    assert sum(bool(data) for data in on.values()) >= 32
    assert sum(len(data) >= 2 for data in on.values()) >= 18
    assert {fault.data for fault in FRESH} == set(fresh.DATA)
    assert {fault.strength for fault in FRESH} == {"", *STRENGTHS}


@each_table
def test_a_fault_has_one_or_two_causes_of_the_closed_list(faults, sound, data):
    for fault in faults:
        assert fault.kind in KINDS, fault.name
        assert fault.data in data, fault.name
        assert fault.strength in ("", *STRENGTHS), fault.name
        assert 1 <= len(fault.causes) <= 2, fault.name
        assert set(fault.causes) <= set(NAMES), fault.name


def test_the_twin_differs_by_what_was_changed():
    for fault in ALL:
        parts = [set(shlex.split(words)) for words in (fault.broken, fault.mended)]
        assert parts[0] or parts[1], fault.name
        assert not parts[0] & parts[1], f"{fault.name}: what both have belongs to the base"
        changed = {re.split(r"[.=]", word)[0] for part in parts for word in part}
        assert len(changed) == 1, f"{fault.name}: changes one group, or one setting"


def test_no_setting_is_typed_twice():
    for name, words in RECIPES:
        typed = Counter(word.partition("=")[0] for word in shlex.split(words))
        assert max(typed.values()) == 1, name


def test_halves_are_fair():
    assert half("a") == "final"  # its SHA-1 begins with 8
    assert half("the") == "final"  # b
    assert half("b") == "final"  # e
    assert half("d") == "tuning"  # 3
    for part in ([fault.name for fault in FAULTS], list(healthy())):
        assert 0.35 <= sum(half(name) == "final" for name in part) / len(part) <= 0.65
    for data in table.DATA:
        halves = Counter(half(fault.name) for fault in FAULTS if fault.data == data)
        assert min(halves.values()) >= 0.25 * halves.total(), data


def covering(recipes):
    """Of the recipes those that bring words which none before has; numbers and files aside."""
    seen: set[str] = set()
    for name, words in recipes:
        kinds = {re.sub(r"=(\[?\d|\{sets).*", "=", word) for word in shlex.split(words)}
        if kinds - seen:
            seen |= kinds
            yield name, words


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_every_word_composes_and_has_no_wrong_argument(whole, tmp_path):
    with compose.composer([]) as composer:
        for name, words in RECIPES if whole else [*covering(sorted(RECIPES, key=by_length))][::4]:
            typed = shlex.split(words.replace(sets.FOLDER, str(tmp_path)))
            try:
                build.check(composer.recipe([*typed, "tracking=none"]))
            except Exception as error:
                pytest.fail(f"{name}: {error}")


def test_every_broken_recipe_has_been_measured_to_be_worse():
    known = measure.known()
    for fault in ALL:
        found = known.get(fault.name)
        if fault.counts and found is None:
            continue
        assert measure.current(fault, found), f"{fault.name}: python -m tests.faults.measure"
        difference, error, worse = measure.judge(found["values"], found["twin_values"])
        assert worse or fault.counts, fault.name
        assert worse == found["broken"], fault.name
        if found["difference"] is not None:
            assert found["difference"] == pytest.approx(difference, rel=1e-4, abs=1e-5), fault.name
            assert found["error"] == pytest.approx(error, rel=1e-3, abs=1e-5), fault.name
    assert known.keys() <= {fault.name for fault in ALL}


def test_the_border_is_two_standard_errors_of_paired_differences():
    broken, mended = [0.5, 0.6, 0.7, 0.8, 0.9], [0.6, 0.7, 0.8, 0.9, 1.1]
    differences = np.subtract(mended, broken)
    difference, error, worse = measure.judge(broken, mended)
    assert difference == pytest.approx(differences.mean())
    assert error == pytest.approx(differences.std(ddof=1) / np.sqrt(5))
    assert worse
    assert not measure.judge(mended, broken)[2]
    assert not measure.judge([1.0, 1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0])[2]
    assert measure.judge([None, None, None, 0.9, 0.9], [0.1] * 5)[2], "most of them broke off"
    assert not measure.judge([None] * 5, [None] * 5)[2]


@pytest.mark.proof
def test_the_same_name_gives_the_same_data():
    files = {
        word.rpartition("/")[2]
        for _, words in RECIPES
        for word in words.split()
        if "{sets}" in word
    }
    names = {file.rpartition(".")[0] for file in files if not file.startswith(("cifar", "scenes"))}
    for name in sorted(names):
        once, again, sound = sets.read(name), sets.read(name), sets.read(name.partition("-")[0])
        assert all(np.array_equal(once[part], again[part]) for part in sound), name
        changed = [
            part
            for part in sound
            if once[part].dtype != sound[part].dtype or not np.array_equal(once[part], sound[part])
        ]
        assert bool(changed) == ("-" in name), name


def test_changes_of_the_data_do_what_they_say():
    sound = sets.read("digits")
    wrong = sets.read("digits-relabelled-0.05")
    assert (wrong["y_train"] != sound["y_train"]).sum() == 50
    assert np.array_equal(wrong["y_val"], sound["y_val"])
    assert len(sets.read("digits-thinned-0.5")["y_train"]) == 500
    few = np.bincount(sets.read("digits-rare-0.1")["y_train"])
    assert few[:5].min() > 80
    assert few[5:].max() < 25
    assert set(sets.read("digits-single-3")["y_train"]) == {3}
    leaked = sets.read("digits-leaked-0.5")
    rows = {row.tobytes() for row in leaked["x_train"]}
    assert sum(row.tobytes() in rows for row in leaked["x_test"]) >= 198
    noisy = sets.read("friedman-noised-2")["x_train"] - sets.read("friedman")["x_train"]
    assert noisy.std() == pytest.approx(2 * sets.read("friedman")["x_train"].std(), rel=0.05)
    moved = sets.read("friedman-shifted-0.1")["x_val"] - sets.read("friedman")["x_val"]
    assert moved.std(0).max() < 1e-6
    twice = sets.read("quantiles-overlapped-0.1")
    assert len(twice["y_train"]) == 1320
    assert ((twice["y_train"][1200:] - sets.read("quantiles")["y_train"][:, None]) % 3 == 1).any()


def test_the_user_code_has_the_bugs_it_is_there_for():
    import torch

    def by_others(model):
        """How much the outputs of samples change with other samples."""
        x = torch.rand(4, 6)
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x).sum(1), x)
        return jacobian[~torch.eye(4, dtype=torch.bool)].abs().sum().item()

    torch.manual_seed(0)
    for bug in ("normalized_over_samples", "by_the_largest"):
        assert by_others(parts.Beginner([6], 3, bug=bug).eval()) > 0, bug
    assert by_others(parts.Beginner([6], 3).eval()) == 0
    for inside in ("softmax_over_samples", "centered_by_samples", "view_across_samples"):
        assert by_others(parts.network([6], 3, inside=inside).eval()) > 0, inside
    assert by_others(parts.network([6], 3).eval()) == 0
    x = torch.rand(8, 6)
    random = parts.network([6], 3, inside="functional_dropout").eval()
    assert not torch.equal(random(x), random(x))
    assert torch.allclose(parts.network([6], 3, last="safe_softmax")(x).sum(1), torch.ones(8))
    anew = parts.Beginner([6], 3, bug="dropout_made_anew").eval()
    assert not torch.equal(anew(x), anew(x))
    assert torch.allclose(parts.Beginner([6], 3, bug="softmax")(x).sum(1), torch.ones(8))
    assert len(list(parts.Beginner([6], 3, bug="list").parameters())) == 2
    assert not parts.network([6], 3, frozen=True)[1].weight.requires_grad
    detached = parts.network([6], 3, inside="detached")
    detached(x).sum().backward()
    assert detached[1].weight.grad is None
    y, logits = torch.rand(8, 1), torch.rand(8, 1)
    every = torch.tensor([[(p - t).square() for p in logits[:, 0]] for t in y[:, 0]]).mean()
    assert parts.broadcast_mse(logits, y).item() == pytest.approx(every.item())


def test_a_fault_is_measured_from_words_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "SEEDS", range(2))
    base = "data=arrays epochs='4 steps'"
    fault = Fault(
        "tried",
        "one_class",
        "digits",
        "",
        base,
        "data.path={sets}/digits-single-3.npz",
        "data.path={sets}/digits.npz",
        ("class_missing",),
    )
    result = measure.measure(fault, measure.Trainer(tmp_path), {})
    assert measure.current(fault, result)
    assert len(result["values"]) == len(result["twin_values"]) == 2
    assert result["difference"] == pytest.approx(
        np.subtract(result["twin_values"], result["values"]).mean(), rel=1e-4
    )
