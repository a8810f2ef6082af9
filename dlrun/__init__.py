"""dlrun: a command-line laboratory for training deep networks.

From the command down to the numbers:

cli/         what is typed: help, completion, and which command it is
verb/        what is done with records: dlrun list, evaluate, predict, compare, show, ...
sweep/       many recipes: points, search, ledger, launchers
job/         one recipe to its recorded runs
recipe/      what a recipe means: composing, resuming, mistakes, building
procedure/   what is done with a recipe: train, draw_schedule
experiment/  what demonstrations need, and no recipe should have
tracking/    from the records on disk to MLflow
console/     what the terminal shows
report/      figures and pages, from records alone
stack/       several runs at once as one network
engine/      training one run: the step, the loop, checkpoints
record/      runs and sweeps on disk
data, preprocessing, augmentation, model, activation, initializer, loss, metric, optimizer,
schedule, regularization, test_augmentation: the ingredients
finding.py: what checks and diagnoses say, each by its name
shell.py, format.py, duration.py, errors.py: text typed and printed, numbers, lengths of time, what
can go wrong

The options of each group are YAML files in conf/<group>/, beside this package. Each room's first
lines say what is where. A room imports only what stands below it here.

From Python: `dlrun.run("model=cnn", "epochs=3")`, `dlrun.open("last")`; see notebook.py.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # known without importing typing
    from dlrun.notebook import Failure, Mistake, Recorded, open, run

__all__ = ["Failure", "Mistake", "Recorded", "open", "run"]


def __getattr__(name: str) -> object:
    """What `dlrun.notebook` offers, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'dlrun' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("dlrun.notebook"), name)
