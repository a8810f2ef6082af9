"""`make bench`: how fast dlrun is, as ratios measured in one process; never a timed test.

python -m tests.bench.run [--data CIFAR10_FOLDER] [--repeats 7] [--only command,loop]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import (
    augmentation,
    busy,
    command,
    loop,
    precision,
    records,
    siblings,
    stack,
    sweep,
)


def main() -> None:
    """Run the benchmarks; print the tables and write them to outputs/bench.txt."""
    parser = argparse.ArgumentParser(description="dlrun's benchmarks")
    parser.add_argument(
        "--data", type=Path, help="CIFAR-10 as a folder of images; else random ones"
    )
    parser.add_argument("--repeats", type=int, default=7, help="pairs of each comparison")
    parser.add_argument(
        "--only",
        default="command,loop,stack,siblings,augmentation,precision,sweep,records,busy",
        help="which benchmarks",
    )
    asked = parser.parse_args()
    images = loop.images(asked.data)
    out = Path("outputs/bench.txt")
    out.parent.mkdir(exist_ok=True)
    benches: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "command": lambda: command.compare(asked.repeats),
        "loop": lambda: [loop.compare(case, images, asked.repeats) for case in loop.CASES],
        "stack": lambda: [stack.compare(case, min(asked.repeats, 3)) for case in stack.cases()],
        "siblings": lambda: siblings.compare(images, min(asked.repeats, 3)),
        "augmentation": lambda: augmentation.compare(asked.repeats),
        "precision": lambda: precision.compare(images, asked.repeats),
        "sweep": lambda: sweep.compare(min(asked.repeats, 3)),
        "records": lambda: records.compare(min(asked.repeats, 3)),
        "busy": lambda: busy.compare(min(asked.repeats, 3)),
    }
    with out.open("w", encoding="utf-8") as file:
        for name in asked.only.split(","):
            rows = benches[name]()
            for console in (Console(), Console(file=file, width=120)):
                console.print(_table(name, rows))


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    """A column for each case."""
    table = Table(title=title, title_justify="left")
    for place, key in enumerate(rows[0]):
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in (r[key] for r in rows)]
        if place:
            table.add_row(key, *cells)
            continue
        table.add_column("")
        for case in cells:
            table.add_column(case, justify="right")
    return table


if __name__ == "__main__":
    main()
