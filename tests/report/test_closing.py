"""The closing tables of procedures on the terminal."""

import io

from rich.console import Console

from dlrun.report import closing


def test_heads_that_do_not_fit_stay_distinct():
    metrics = ("loss", "mae", "r2", "rmse")
    row = {"repeat": 1, "fold": 1, "samples": 54} | {f"held_out/{each}": 166.52 for each in metrics}
    file = io.StringIO()
    table = closing.table([row | {"val/loss": 0.0387, "at epoch": "1"}])
    Console(width=80, file=file).print(table)
    shown = file.getvalue()
    assert "…" not in shown
    assert all(f"/{each}" in shown for each in metrics)
