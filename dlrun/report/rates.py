"""Learning rates that were drawn without training, as lines of small bars."""

from pathlib import Path

from dlrun import record
from dlrun.record.sweep import Sweep
from dlrun.report.curves import Curve, curve

_BARS, _WIDTH = " ▁▂▃▄▅▆▇█", 64


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
