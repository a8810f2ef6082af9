"""`dlrun show`: figures of a run, and its page."""

import logging
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from dlrun import record, shell
from dlrun.console import screen
from dlrun.errors import Mistake
from dlrun.recipe import compose, resume
from dlrun.record import Record
from dlrun.report import findings
from dlrun.verb.asked import Asked
from dlrun.verb.opened import Opened, opened, trained_record

_log = logging.getLogger("dlrun")
_EXAMPLES = 6
"""Samples that are shown before and after augmentation."""


def run(asked: Asked) -> int:
    """Draw all figures of a run, write its page, and say where they are."""
    directory = trained_record(asked)
    if why := record.unwritable(directory):
        page, note = _drawn_before(directory, why), ""
    else:
        page, note = _drawn(asked, directory)
    for path in sorted((directory / "figures").glob("*.png")):
        print(shell.clean(shell.near(path)))
    if note:
        print(note)
    if page is not None:
        print(shell.clean(shell.near(page)))
        if "--open" in asked.flags:
            webbrowser.open(page.absolute().as_uri())
    return 0


def _drawn_before(directory: Path, why: str) -> Path | None:
    """The page of a run that may not be written. Raises Mistake where nothing has been drawn."""
    said = f"cannot write {shell.near(directory)}: {why}"
    page = directory / "report.html"
    if not page.is_file() and not any((directory / "figures").glob("*.png")):
        raise Mistake(f"{said}; nothing has been drawn of it, so copy the run to a folder of yours")
    _log.warning(f"{said}; these have been drawn before")
    return page if page.is_file() else None


def _drawn(asked: Asked, directory: Path) -> tuple[Path | None, str]:
    """Draw all figures, and write the page; what is to be said of those that are not there."""
    with opened(asked, str(directory)) as made, kept(made) as own:
        from dlrun.report import figures, run_page

        _measure(made)
        _examine(made, own)
        figures.draw(directory, whole=True)
        _look_inside(made)
        page = run_page.write(directory)
        lacks = "there are no validation samples, so no predictions are drawn"
        return page, "" if len(made.data.val) else lacks


@contextmanager
def kept(made: Opened) -> Iterator[Record]:
    """Inside, the run's record, held; what is added to it goes to where the run is tracked."""
    before = resume.of(made.directory)
    before.keep_store(made.config, [])
    made.session.prepare(made.config)
    with closing(record.open_existing(made.directory)) as own:
        made.session.follow(made.directory)
        yield own


def _measure(made: Opened) -> None:
    """What the run says of the validation split, for figures; kept as it was of changed data."""
    from dlrun.procedure.train import keep_validation

    if not made.changed:
        keep_validation(made.run, made.directory, made.data)


def _examine(made: Opened, own: Record) -> None:
    """Say how well the run fits, where its training has not."""
    from dlrun.job import factory

    recipe = compose.copied(made.recorded)
    recipe.preflight = resume.of(made.directory).recipe.preflight
    if not made.changed and factory.examine(recipe, own, made.session):
        findings.show(screen.console("stderr"), record.findings_of(made.directory))


def _look_inside(made: Opened) -> None:
    """Figures of what is in the network, and of what goes in."""
    from dlrun.engine import inside
    from dlrun.engine.surface import surface
    from dlrun.report import inside as report

    run, data, folder = made.run, made.data, made.directory / "figures"
    seen = inside.inputs(run, data.train, _EXAMPLES)
    if seen is not None:
        report.inputs(seen.raw, seen.augmented, seen.seen, folder / "inputs.png")
    kernels = inside.filters(run, data.train)
    if kernels is not None:
        report.filters(kernels, folder / "filters.png")
    split = "val" if len(data.val) else "train"
    found = inside.distributions(run, data.splits[split])
    left = f" (some of {inside.LAYERS + found.left_out})" if found.left_out else ""
    kind = "validation" if split == "val" else "training"
    samples = shell.counted(found.samples, f"{kind} sample")
    for name, each, title in (
        ("weights", found.weights, f"the weights of each layer{left}"),
        ("activations", found.activations, f"what each layer gives for {samples}{left}"),
    ):
        if each:
            report.histograms([asdict(one) for one in each], title, folder / f"{name}.png")
    around = surface(run, data, report=_progress(made))
    report.line(around.along, around.line, around.samples, folder / "loss_line.png")
    report.plane(around.across, around.plane, around.samples["train"], folder / "loss_plane.png")


def _progress(made: Opened) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        made.session.show.busy(f"the loss around the weights  {done} of {total}", done, total)

    return report
