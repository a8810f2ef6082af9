"""`resume=` of a procedure's record: it goes on as it was begun, or nothing is touched."""

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main
from tests.conftest import sparsely
from tests.job.test_lab import children, parent

COMMON = ("tracking=none", "threads=1", "epochs='20 steps'")
WORDS = (*COMMON, "procedure=cross_validate", "procedure.folds=2", "procedure.val=20%")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with a procedure's record and its runs."""
    folder = tmp_path_factory.mktemp("begun") / "outputs"
    assert main([*WORDS, f"outputs={folder}"]) == 0
    return folder


def content(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("which", "words", "said"),
    sparsely(
        [
            (
                "own",
                ["procedure=retrain"],
                "is a record of procedure=cross_validate, which would be",
            ),
            ("own", ["procedure=train"], "lost to procedure=train; leave procedure= out to go on"),
            ("own", ["procedure=draw_schedule"], "is a record of procedure=cross_validate"),
            (
                "own",
                ["procedure.folds=3"],
                "procedure.folds changes what the procedure has begun with",
            ),
            ("own", ["optimizer.lr=1", "seed=3"], "optimizer.lr, seed changes what"),
            (
                "child",
                ["procedure=cross_validate"],
                "is a record of procedure=train, which would be",
            ),
            ("child", ["procedure=draw_schedule"], "is a record of procedure=train"),
        ],
        3,
    ),
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_would_write_over_a_record_is_refused(outputs, which, words, said, capsys):
    before = content(outputs)
    [directory] = parent(outputs) if which == "own" else children(outputs)[:1]
    assert main([f"resume={directory.name}", f"outputs={outputs}", *words]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: resume={directory.name}: ")
    assert said in shown.err
    assert len(shown.err.splitlines()) == 1
    assert content(outputs) == before


def test_a_run_with_a_setting_that_is_zero_can_be_resumed(here):
    assert main([*COMMON, "procedure._target_=tests.procedure.endings.of_seed_0"]) == 0
    [run] = children()
    assert "seed=0" in record.read_json(run / "run.json")["overrides"]
    assert main([f"resume={run.name}", "epochs='25 steps'", "tracking=none"]) == 0
    assert np.isclose(record.read_points(run)[-1]["step"], 25)
