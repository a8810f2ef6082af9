"""dlrun from Python, in a notebook say: the same words as in the shell, and a record in return.

    import dlrun

    run = dlrun.run("model=cnn", "epochs=3")
    run.points.plot("epoch", "val/loss")
    logits = run.model()(images)

    before = dlrun.open("last")

A mistake raises `dlrun.Mistake`, a run that goes wrong `dlrun.Failure`; nothing ends the process.
Handlers of signals and the path of modules are as before afterwards.
"""

import html
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import format, record, shell
from dlrun.__main__ import wait_briefly
from dlrun.errors import Failure, Interrupted, Mistake, OutOfTime
from dlrun.finding import Finding
from dlrun.recipe import flags
from dlrun.record import named
from dlrun.verb import opened
from dlrun.verb.asked import Asked

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import nn

__all__ = ["Failure", "Mistake", "Recorded", "open", "run"]


@dataclass(frozen=True)
class Recorded:
    """A run's record, or that of a procedure. directory: where it is."""

    directory: Path

    @property
    def info(self) -> Mapping[str, Any]:
        """What `run.json` says of it."""
        return record.read_json(self.directory / "run.json")

    @property
    def name(self) -> str:
        """Its name: what was changed, or what `name=` says."""
        return str(self.info.get("name", ""))

    @property
    def status(self) -> str:
        """RUNNING, FINISHED, PRUNED, FAILED or KILLED."""
        return str(record.mark_killed(self.directory).get("status", ""))

    @property
    def points(self) -> "DataFrame":
        """All points: step, epoch, time (UTC), and each value, NaN where a point has none."""
        import pandas as pd

        found = record.read_points(self.directory)
        places = pd.DataFrame([{k: each[k] for k in ("step", "epoch")} for each in found])
        if not found:
            return pd.DataFrame({"step": [], "epoch": [], "time": []})
        when = pd.to_datetime([each.get("time") for each in found], unit="ms", utc=True)
        values = pd.DataFrame([each["values"] for each in found])
        return pd.concat([places.assign(time=when), values], axis=1)

    @property
    def values(self) -> Mapping[str, float]:
        """The values at its end: the best, the test split's, and the last ones of training."""
        return record.last_values(record.read_points(self.directory))

    @property
    def findings(self) -> list[Finding]:
        """What checks and diagnosis have found, the worst first."""
        return record.findings_of(self.directory)

    def model(self, device: str = "cpu") -> "nn.Module":
        """The network with its best weights: a tensor of raw samples in, logits or numbers out.

        Preprocessing is inside, as in `model/`, and numbers are in their units; it is in evaluation
        mode. An array becomes a tensor by `torch.as_tensor`. Of a procedure, the network of its
        result, or of its best run. Raises Mistake where there are no weights.
        """
        from dlrun.procedure.train import deployable

        directory = self.directory
        if named.is_procedure(directory):
            directory = named.find(directory.parents[1], directory.name)
        with _as_command(), opened.opened(Asked("predict"), str(directory)) as made:
            return deployable(made.run).to(device)

    def __repr__(self) -> str:
        """Its name and id, how it stands, and the best value."""
        best = named.best(self.directory)
        told = f", best {best[0]} {format.cell(best[1])}" if best else ""
        stands = record.said(record.mark_killed(self.directory))
        return f"<run {self.directory.name} {shell.name(self.name)}: {stands}{told}>"

    def _repr_html_(self) -> str:
        """A table of the values at its end, and the findings below."""
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{format.cell(value)}</td></tr>"
            for name, value in self.values.items()
        )
        said = "".join(
            f"<p><b>{html.escape(each.name)}</b>: {html.escape(each.text)}</p>"
            for each in self.findings
        )
        return f"<p>{html.escape(repr(self))}</p><table>{rows}</table>{said}"


def run(*words: str) -> Recorded:
    """Do what these words would do after `dlrun` in the shell; gives the record.

    Of a sweep (`"-m"` among the words), the record of its best run. Raises Mistake for what cannot
    be, Failure where a run goes wrong, KeyboardInterrupt where it is interrupted. Of what ends by
    `stop_after`, the record is given, to go on with by `dlrun.run("resume=last")`.
    """
    from dlrun.cli import launch

    for word in words:
        if not isinstance(word, str):
            raise Mistake(f"{word!r}: write each word as a string, e.g. dlrun.run('epochs=20')")
    typed = flags.parse(list(words))
    for word in typed.words:
        if "=" not in word and not word.startswith("~"):
            raise Mistake(f"{word}: write key=value, e.g. dlrun.run('epochs=20')")
    if typed.help or typed.version or typed.shell_completion or typed.cfg or typed.info:
        raise Mistake("dlrun.run takes the words of a training; type this one in the shell")
    if "torch" not in sys.modules:  # which reads this when it is imported
        wait_briefly(os.environ)
    with _as_command():  # launch.run shows what is warned of
        try:
            directory = launch.run(typed, ["dlrun", *words])
        except OutOfTime:
            directory = record.find(_typed(words, "outputs"), _typed(words, "resume") or "last")
    if directory is None:
        raise Mistake(f"{shell.line(words)}: makes no record")
    return Recorded(directory)


def open(which: str | Path = "last", outputs: str | Path = "outputs") -> Recorded:
    """The record of a run: `last`, an id or the start of one, MLflow's id, or a directory.

    Of a sweep's id, that of its best run. Raises Mistake where there is none.
    """
    which = str(which)
    folder = named.sweep_folder(outputs, which) if which != "last" else None
    return Recorded(named.find(outputs, which) if folder else record.find(outputs, which))


def _typed(words: tuple[str, ...], key: str) -> str:
    """What the words say of a setting, which is of no group, else its usual value."""
    from dlrun.recipe import compose
    from dlrun.recipe.schema import Settings

    typed = [compose.text(word) for word in words if shell.key(word) == key]
    return typed[-1] if typed else str(getattr(Settings, key) or "")


@contextmanager
def _as_command() -> Iterator[None]:
    """Inside, modules of the user's are found where the command would find them.

    What stops a command becomes KeyboardInterrupt, as everywhere in Python.
    """
    modules = list(sys.path)
    sys.path.append(os.getcwd())
    try:
        yield
    except OutOfTime:
        raise
    except Interrupted as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    except SystemExit as stop:
        raise Failure(f"a module ended the program with sys.exit({stop.code!r})") from stop
    finally:
        sys.path[:] = modules
