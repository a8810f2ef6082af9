"""Words of other libraries: each is answered by what it is called here."""

import pytest

from dlrun.__main__ import main
from dlrun.recipe import suggest
from dlrun.recipe.catalogue import Catalogue

CATALOGUE = Catalogue()
ROOT = [setting.key for setting in CATALOGUE.primary.root]


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("max_epochs=3", "did you mean epochs=3?"),
        ("trainer.max_epochs=3", "did you mean epochs=3?"),
        ("num_epochs=3", "did you mean epochs=3?"),
        ("n_epochs=3", "did you mean epochs=3?"),
        ("max_steps=300", "did you mean epochs='300 steps'?"),
        ("learning_rate=0.1", "did you mean optimizer.lr=0.1?"),
        ("weight_decay=0.1", "did you mean optimizer.weight_decay=0.1?"),
        ("wd=0.1", "did you mean optimizer.weight_decay=0.1?"),
        ("batch=8", "did you mean batch_size=8?"),
        ("bs=8", "did you mean batch_size=8?"),
        ("scheduler=step", "did you mean schedule=step?"),
        ("lr_scheduler=StepLR", "dlrun --help schedule lists them"),
        ("optim=adam", "did you mean optimizer=adam?"),
        ("arch=resnet50", "dlrun --help model lists them"),
        ("dataset=mnist", "did you mean data=mnist?"),
        ("transforms=[flip,crop]", "did you mean augmentation=[flip,crop]?"),
        ("loss_fn=mse", "did you mean loss=mse?"),
        ("criterion=nll", "dlrun --help loss lists them"),
        ("callbacks=early_stopping", "regularization=[early_stopping]"),
        ("metrics=f1", "monitor=val/loss"),
        ("checkpoint=best", "checkpoint_every="),
        ("gpus=1", "device=cuda"),
        ("accelerator=gpu", "device=cuda"),
        ("num_workers=4", "decoded once"),
    ],
)
def test_the_word_here(typed, right, capsys):
    assert main([typed]) == 2
    shown = capsys.readouterr().err
    assert f"{typed}: there is no setting '{typed.partition('=')[0]}'; " in shown
    assert right in shown


@pytest.mark.parametrize("template", sorted(set(suggest.words("settings").values())))
def test_what_is_proposed_is_a_setting(template):
    key = template.partition("=")[0]
    assert key in ROOT or CATALOGUE.settings(key)


def test_no_word_is_one_of_dlrun_itself():
    tables = [suggest.words(name) for name in ("settings", "groups", "sayings")]
    words = {word for table in tables for word in table}
    assert not words & {*ROOT, *CATALOGUE.groups}
    assert set(suggest.words("groups").values()) <= set(CATALOGUE.groups)
    assert len(words) == sum(map(len, tables)), "a word that means two things"
