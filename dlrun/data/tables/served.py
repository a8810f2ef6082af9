"""The saved model of a table, as MLflow loads it: rows as they are in, the network's outputs out.

A folder of a model has this module, `encode` and `cells` in `code/`, the readings in `data/`, and
the network as a torch program, which `mlflow.pytorch.load_model` gives alone: it takes inputs that
are encoded.
"""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from . import encode

READINGS = "readings.json"


class TableModel:
    """Encodes the rows of a table and asks the network.

    readings: how the table is read, as `encode` has it; an ensemble has one for each member, whose
    inputs stand side by side. columns: the ColumnTransformer of each. network: (n, inputs) to
    (n, outputs).
    """

    def __init__(self, readings: list[dict[str, Any]], network: torch.nn.Module) -> None:
        self.readings, self.network = readings, network
        self.columns = [encode.transformer(reading["columns"]) for reading in readings]

    def get_raw_model(self) -> "TableModel":
        """Itself: what MLflow gives to whoever wants more than `predict`."""
        return self

    def predict(self, table: pd.DataFrame, params: object = None) -> NDArray[np.float32]:
        """(n, outputs): logits of classes, or numbers in their units.

        Warns of values that are not of their column's kind, and count as missing, and of texts
        that no training row had.
        """
        parts = []
        for reading, made in zip(self.readings, self.columns, strict=True):
            found = encode.encode(table, reading, made)
            for counts, said in ((found.unread, "unreadable"), (found.unknown, "unknown")):
                for name, count in counts.items():
                    values = "value" if count == 1 else "values"
                    warnings.warn(f"the column {name} has {count} {said} {values}", stacklevel=2)
            parts.append(found.x)
        with torch.no_grad():
            outputs = self.network(torch.from_numpy(np.concatenate(parts, 1)))
        known: NDArray[np.float32] = outputs.numpy()
        return known


def _load_pyfunc(path: str, config: object = None) -> TableModel:
    """What MLflow calls, with the folder `data`."""
    readings = json.loads((Path(path) / READINGS).read_text(encoding="utf-8"))
    return TableModel(readings, _network(Path(path)))


def _network(folder: Path) -> torch.nn.Module:
    """The program, or where there is none the pickle."""
    program = folder / "model.pt2"
    if program.exists():
        return torch.export.load(program).module()
    pickled = importlib.import_module((folder / "pickle_module_info.txt").read_text())
    network: torch.nn.Module = torch.load(
        folder / "model.pth", map_location="cpu", pickle_module=pickled, weights_only=False
    )
    return network.eval()
