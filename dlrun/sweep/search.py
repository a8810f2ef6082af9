"""Which point comes next: the next one of a grid, or a proposal of an Optuna sampler.

The ledger is the memory. A sampler is asked and told again what it was asked and told
before, in the same order, and so stands where it stood: its random numbers depend on the
sweep's seed and on the number of the trial alone.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState

from dlrun import record
from dlrun.record.sweep import Dimension, Point
from dlrun.regularization import Regularizer
from dlrun.sweep.space import Space, Values

STATES = {
    record.FINISHED: TrialState.COMPLETE,
    record.PRUNED: TrialState.PRUNED,
    record.FAILED: TrialState.FAIL,
}
"""How a trial can end."""
FAIL = TrialState.FAIL


class Pruner(Regularizer):
    """A stopping rule that asks Optuna whether the run is worth going on with.

    It counts validations: the n-th score after its start is the n-th report.
    """

    def __init__(self, trial: optuna.Trial, objective: str) -> None:
        """objective: the metric that the trial is judged by, whatever the run monitors."""
        self.pruned = False
        self.metric = objective
        maximizes = trial.study.direction is StudyDirection.MAXIMIZE
        self._trial, self._sign = trial, 1.0 if maximizes else -1.0
        self._decided: dict[int, bool] = {}  # by step: a resumed run comes by some again

    def should_stop(self, score: float, step: int) -> bool:
        """Take in the score after `step` steps of training."""
        if step not in self._decided:
            if math.isfinite(score):
                self._trial.report(self._sign * score, len(self._decided) + 1)
            self._decided[step] = bool(self._trial.should_prune())  # no checkpoint takes NumPy's
        self.pruned = self._decided[step]
        return self.pruned


class Search:
    """Proposes points one after another, and learns from their results.

    Those of a sampler of Optuna, or of a grid in order; of a grid without a pruner, Optuna
    hears nothing.
    """

    def __init__(
        self,
        space: Space,
        make_sampler: Callable[[int], optuna.samplers.BaseSampler] | None,
        pruner: optuna.pruners.BasePruner | None,
        objective: str,
        name: str,
        storage: Path | None = None,
        maximize: bool = True,
    ) -> None:
        """make_sampler: a sampler from the number of a trial; None to go through the grid instead.

        storage: a file through which other processes report to the pruner.
        maximize: whether more of the objective is better.
        Raises Mistake where a dimension of a grid cannot be listed.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._make_sampler = space, make_sampler
        self._points = [] if make_sampler else space.grid()
        self._prunes = pruner is not None
        self._objective = objective
        self._study = optuna.create_study(
            storage=None if storage is None else journal(storage),
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner or optuna.pruners.NopPruner(),
            direction="maximize" if maximize else "minimize",
            study_name=name,
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._pruners: dict[int, Pruner] = {}
        self._told: dict[int, TrialState] = {}
        self._axes = space.axes()
        drawn = self._axes if make_sampler else ()
        self._distributions = {_name(axis): distribution(axis) for axis in drawn}

    def ask(self, trial: int) -> Values | None:
        """The values of a trial, in order from 0; None after the last point of a grid."""
        if self._make_sampler is not None:
            self._study.sampler = self._make_sampler(trial)
            asked = self._trials[trial] = self._study.ask(self._distributions)
            return self._values(asked.params)
        if trial >= len(self._points):
            return None
        if self._prunes:
            self._trials[trial] = self._study.ask()
        return self._points[trial]

    def tell(self, point: Point) -> None:
        """Take in the result of a trial, which may have failed before and succeeded now."""
        trial = self._trials.get(point.trial)
        if trial is None:
            return
        state = STATES[point.status]
        worth = point.value if state is TrialState.COMPLETE else None
        if state is TrialState.COMPLETE and worth is None:
            state = FAIL
        params = self._params(point.values) if self._make_sampler else {}
        before = self._told.get(point.trial)
        same = not params or self._values(trial.params) == point.values
        if before is None:
            given = same or state is not TrialState.COMPLETE
            self._study.tell(trial, worth if given else None, state=state if given else FAIL)
        if before is None and (bad := self._stand_in(point, state)) is not None:
            self._add(bad, params)
        if state is TrialState.COMPLETE and (before is FAIL or (before is None and not same)):
            # It had failed before, or another release of Optuna drew it.
            self._add(worth, params)
        if before in (None, FAIL):
            self._told[point.trial] = state

    def _stand_in(self, point: Point, state: TrialState) -> float | None:
        """The value of a pruned or failed point for a Gaussian process, else None.

        Optuna fits it to complete trials alone, so it would propose such a point again and again.
        A pruned one has its value; of a failed one, the worst of the others tells that it is bad.
        """
        sampler = self._study.sampler
        if state is TrialState.COMPLETE or not isinstance(sampler, optuna.samplers.GPSampler):
            return None
        if state is TrialState.PRUNED and point.value is not None:
            return point.value
        worst = min if self._study.direction is StudyDirection.MAXIMIZE else max
        known = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return worst(
            (float(trial.value) for trial in known if trial.value is not None), default=None
        )

    def _add(self, worth: float | None, params: Mapping[str, Any]) -> None:
        """Tell the sampler of a complete trial that it has not proposed."""
        self._study.add_trial(
            optuna.create_trial(value=worth, params=dict(params), distributions=self._distributions)
        )

    def _values(self, params: Mapping[str, Any]) -> Values:
        """What Optuna drew, with numbers as one types them."""
        values: Values = {}
        for axis in self._axes:
            drawn = params[_name(axis)]
            for one in axis:
                if not one.ranged or one.zip is not None:
                    values[one.key] = one.listed[drawn]
                else:
                    low, high = one.ends
                    values[one.key] = min(max(one.rounded(drawn), low), high)
        return {one.key: values[one.key] for one in self._space.dimensions}

    def _params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as Optuna knows them."""
        params = {}
        for axis in self._axes:
            value = values[axis[0].key]
            counted = isinstance(self._distributions[_name(axis)], CategoricalDistribution)
            params[_name(axis)] = axis[0].listed.index(value) if counted else value
        return params

    def pruner(self, trial: int) -> Pruner | None:
        """The rule that may stop the first run of a trial, always the same; None if nothing may."""
        if not self._prunes or trial in self._told:
            return None
        if trial not in self._pruners:
            self._pruners[trial] = Pruner(self._trials[trial], self._objective)
        return self._pruners[trial]

    def id(self, trial: int) -> int:
        """Optuna's id of a trial, by which another process reports through the storage."""
        return int(self._trials[trial]._trial_id)


def distribution(axis: Sequence[Dimension]) -> BaseDistribution:
    """What Optuna draws from: numbers, or the index of a choice."""
    one = axis[0]
    if not one.ranged or one.zip is not None:
        return CategoricalDistribution(tuple(range(len(one.listed))))
    if one.whole:
        low, high = map(int, one.ends)
        return IntDistribution(low, high, one.log, int(one.step or 1))
    return FloatDistribution(*one.ends, one.log, one.step)


def journal(path: Path) -> optuna.storages.BaseStorage:
    """A storage in one file that several processes may use at once."""
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    return optuna.storages.JournalStorage(backend)


def attached(path: Path, name: str, trial: int, pruner: optuna.pruners.BasePruner) -> optuna.Trial:
    """The trial with this id of the study in a storage, for another process."""
    logging.getLogger("optuna").setLevel(logging.ERROR)
    study = optuna.load_study(study_name=name, storage=journal(path), pruner=pruner)
    return optuna.Trial(study, trial)


def _name(axis: Sequence[Dimension]) -> str:
    return "+".join(one.key for one in axis)
