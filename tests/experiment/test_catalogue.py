"""Every experiment: its header says all it should, its short form ends as its file expects.

Those on CIFAR-10 are skipped where DLRUN_CIFAR10 does not say in which folder its images are.
"""

import os
import re
import shlex

import pytest

from dlrun import shell
from dlrun.__main__ import main
from dlrun.cli import help
from dlrun.recipe import compose, expect, experiment, mistakes
from dlrun.recipe.catalogue import Catalogue, load
from tests.conftest import in_suite

OPTIONS = Catalogue().options("experiment")
ASIDE = {"pretrain", "finetune"}  # the one begins with the weights of the other
SHORT = [name for name in OPTIONS if name not in ASIDE]
SUITE = {"initial_loss", "batch_norm_identity", "whitening", "bias_correction"}
"""What `make test` runs: four short ones of different subjects; `make proofs` runs all."""
CIFAR = os.environ.get("DLRUN_CIFAR10")


def commands(name):
    """The commands in a header, as words."""
    lines = (line.strip() for line in OPTIONS[name].header)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dlrun ")]


@pytest.fixture(scope="module")
def composer():
    with compose.composer([]) as made:
        yield made


@pytest.mark.parametrize("name", OPTIONS)
def test_its_header_says_subject_cost_source_and_command(name, composer):
    option, text = OPTIONS[name], " ".join(OPTIONS[name].header)
    assert option.subject in help._usage()["subjects"]
    assert re.search(r"\b(second|minute)s?\b", text), "what it costs"
    assert re.search(r"\b(19|20)\d\d\b", text), "its source and the year"
    assert any(f"+experiment={name}" in words for words in commands(name))
    for words in commands(name):
        if words[0].startswith(("+", "-m")) or "=" in words[0]:
            typed = [word for word in words if word != "-m"]
            mistakes.words(composer, typed)
            composer.full([word for word in typed if not word.startswith("short=")])


@pytest.mark.parametrize("name", OPTIONS)
def test_its_own_command_is_judged(name, composer):
    own = next(words for words in commands(name) if f"+experiment={name}" in words)
    expected, unjudged = experiment.expectations(composer.recipe(own), own)
    assert expected
    assert not unjudged


def test_another_command_is_not_judged_whatever_the_weights(composer):
    [drawn] = [words for words in commands("finetune") if "freeze=null" in words]
    for words in (drawn, [*drawn, "weights=last"], ["+experiment=dropout", "weights=last"]):
        assert "judges nothing" in experiment.expectations(composer.recipe(words), words)[1]


@pytest.mark.parametrize("name", SHORT)
def test_it_says_what_to_expect(name, composer):
    content = load(OPTIONS[name].file)
    assert content["expect"]
    assert list(expect.problems(composer.recipe([f"+experiment={name}"]))) == []
    if "short" in content:
        assert content["short"]["words"]


@pytest.mark.parametrize("name", in_suite(SUITE, SHORT))
def test_it_comes_to_what_is_expected_in_short(name, tmp_path):
    """Those that take only seconds have no short form."""
    words = [f"+experiment={name}", "tracking=none", "threads=1"]
    short = load(OPTIONS[name].file).get("short")
    if short:
        words.append("short=true")
    words_of_short = shell.words(short["words"]) if short else []
    others = any(word.startswith("data=") for word in words_of_short)
    photographs = any(word.startswith("data.root=") for each in commands(name) for word in each)
    if photographs and not others:
        if CIFAR is None:
            pytest.skip("DLRUN_CIFAR10 does not say where CIFAR-10 is")
        words += [f"data.root={CIFAR}"]
    assert main([*words, f"outputs={tmp_path}"]) == 0
