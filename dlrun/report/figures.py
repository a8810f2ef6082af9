"""All figures of a record that can be drawn from its files."""

from pathlib import Path

from dlrun.report import answers, chart, curves, layers


def draw(directory: Path, whole: bool = False) -> list[Path]:
    """Draw what a record has into its `figures/`; the files that were written.

    whole: with those for which there is no time at the end of a training; else what was drawn of
    them before goes.
    """
    for name in curves.OF_SHOW if not whole else ():
        path = directory / "figures" / f"{name}.png"
        if path.is_file():
            path.unlink()
    drawn = chart.draw(directory)  # which is all there is of several runs
    if not drawn:
        drawn += curves.draw(directory)
    return drawn + layers.draw(directory) + answers.draw(directory, whole)
