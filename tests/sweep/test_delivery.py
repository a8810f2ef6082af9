"""What a server has missed of a sweep's runs goes there when the sweep is typed again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlrun import record
from dlrun.__main__ import main
from dlrun.job.session import Session
from dlrun.record import named
from tests.sweep.conftest import QUICK
from tests.sweep.typed import directory

STORE = {"uri": "http://example", "experiment": "dlrun"}


@dataclass
class Deliveries:
    """Takes the place of the process that delivers, and keeps what it is told."""

    settings: dict[str, Any] = field(default_factory=lambda: STORE)
    followed: list[str] = field(default_factory=list)
    uri: str | None = None

    def follow(self, run: Path) -> None:
        self.followed.append(run.name)

    def draw(self, run: Path) -> None:
        """Nothing is drawn here."""


@pytest.mark.figures
def test_runs_that_a_server_lacks_are_delivered_by_the_next_command(sweep, tmp_path, monkeypatch):
    words = ("optimizer.lr=0.1,0.05,0.01,0.005",)
    assert sweep(*words) == 0
    whole, elsewhere, broken, missing = record.all_runs(tmp_path / "outputs")
    record.write_json(whole / "tracking.json", STORE | {"done": True, "delivered": 99})
    record.write_json(elsewhere / "tracking.json", {**STORE, "uri": "http://old", "done": True})
    record.write_json(broken / "tracking.json", STORE | {"done": False})
    sent = Deliveries()
    monkeypatch.setattr(Session, "prepare", lambda self, config, draws=False: sent)
    monkeypatch.setattr(Session, "follow", lambda self, run: sent.follow(run))
    assert sweep(*words) == 0
    late = [elsewhere.name, broken.name, missing.name, directory(tmp_path).name]
    assert sent.followed == late


@pytest.mark.figures
def test_what_another_sweep_has_trained_is_delivered_too(sweep, tmp_path, monkeypatch):
    assert sweep("optimizer.lr=0.1,0.05") == 0
    runs = [run.name for run in record.all_runs(tmp_path / "outputs")]
    sent = Deliveries()
    monkeypatch.setattr(Session, "prepare", lambda self, config, draws=False: sent)
    monkeypatch.setattr(Session, "follow", lambda self, run: sent.follow(run))
    assert sweep("optimizer.lr=0.05,0.1") == 0
    assert sorted(sent.followed[:2]) == sorted(runs)
    assert len(sent.followed) == 3, "and the summary"


FOLDS = ("procedure=cross_validate", "procedure.folds=2")


@pytest.mark.figures
def test_the_runs_of_a_procedure_that_has_ended_are_delivered_too(sweep, tmp_path, monkeypatch):
    assert sweep(*FOLDS, "optimizer.lr=0.1,0.05") == 0
    sent = Deliveries()
    monkeypatch.setattr(Session, "prepare", lambda self, config, draws=False: sent)
    monkeypatch.setattr(Session, "follow", lambda self, run: sent.follow(run))
    assert sweep(*FOLDS, "optimizer.lr=0.1,0.05") == 0
    assert {run.name for run in record.all_runs(tmp_path / "outputs")} <= {*sent.followed}


@pytest.mark.figures
def test_the_runs_that_had_ended_are_delivered_by_a_procedure_that_goes_on(here, monkeypatch):
    words = (*FOLDS, *QUICK)
    assert main([*words]) == 0
    runs = record.all_runs("outputs")
    [folds] = [run for run in runs if named.is_procedure(run)]
    record.write_json(folds / "status.json", {"status": record.KILLED})
    record.write_json(runs[-1] / "tracking.json", STORE | {"done": True, "delivered": 99})
    sent = Deliveries()
    monkeypatch.setattr(
        Session, "prepare", lambda self, *_, **__: vars(self).update(_follower=sent)
    )
    assert main([*words]) == 0
    assert sorted({*sent.followed}) == sorted(run.name for run in runs[:-1])
