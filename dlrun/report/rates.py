"""Learning rates that were drawn without training: as lines of small bars, and one figure."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from dlrun import record
from dlrun.record.sweep import Sweep
from dlrun.report import drawing
from dlrun.report.curves import Curve, curve

_BARS, _WIDTH = " ▁▂▃▄▅▆▇█", 64
# Okabe and Ito, Color universal design, 2008: told apart with any kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")


def drawn(sweep: Sweep, outputs: str | Path) -> dict[str, Curve]:
    """The rates over the epochs by the name of the point; empty where anything was trained."""
    found = {}
    for point in sweep.points:
        for run in point.directories[:1] if point.status == record.FINISHED else ():
            points = record.read_points(Path(outputs) / run)
            if any(set(each["values"]) != {"lr"} for each in points):
                return {}
            if points:
                found[point.label] = curve(points, "lr")
    return found


def course(rates: Curve) -> str:
    """The rates as a line of small bars, and below it where they begin, culminate and end."""
    epochs, values = rates
    picked = [values[place * (len(values) - 1) // _WIDTH] for place in range(_WIDTH + 1)]
    top = max(values) or 1.0
    bars = "".join(_BARS[round(max(rate, 0.0) / top * (len(_BARS) - 1))] for rate in picked)
    highest = epochs[values.index(max(values))]
    ends = f"{values[0]:.4g} at first, {max(values):.4g} at epoch {highest:.4g}"
    return f"lr  {bars}\n    {ends}, {values[-1]:.4g} last"


def figure(rates: Mapping[str, Curve]) -> str:
    """All of them over the epochs, as SVG; told apart by colours, then by dashes."""
    lines = -(-len(rates) // 2)
    legend = 0.3 + 0.2 * lines  # inches
    height = 3.6 + legend
    figure, axes = drawing.figure(
        drawing.across(), height, (0.07, 0.5 / height, 0.92, (height - 0.5 - legend) / height)
    )
    styles = cycle((colour, dash) for dash in _DASHES for colour in _COLOURS)
    for (name, (epochs, values)), (colour, dash) in zip(rates.items(), styles, strict=False):
        label = drawing.short(name, 70)
        axes.plot(epochs, values, color=colour, linestyle=dash, linewidth=1.6, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("learning rate")
    drawing.plain(axes)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return drawing.svg(figure)
