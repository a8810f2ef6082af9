"""The best weights as an MLflow model, and its registration with a run.

The model is saved as a `torch.export` program: loading it needs torch alone, neither dlrun nor
the model's class, and it takes batches of any size. What cannot be exported is pickled instead,
and then needs its class. To load and to serve it:

    mlflow.pytorch.load_model("outputs/runs/<id>/model")
    mlflow models predict -m outputs/runs/<id>/model -i images.json --env-manager local

The model of a table is a `pyfunc`, which takes the rows as they are, as a DataFrame: scikit-learn
encodes them, as `dlrun/data/tables/served.py` says, whose code lies in the folder.

    mlflow.pyfunc.load_model("outputs/runs/<id>/model").predict(pandas.read_csv("new.csv"))

Such a program always evaluates, and torch refuses its `.eval()` and `.train()`; the model's
metadata say so. They also hold the names of the classes:

    mlflow.models.get_model_info("outputs/runs/<id>/model").metadata["classes"]
"""

import io
import json
import logging
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import yaml

from dlrun import errors, shell
from dlrun.record import bounds, version
from dlrun.record.files import FULL, is_full

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor, nn

_log = logging.getLogger("dlrun")
_TYPE = "dlrun"  # by which our models are told from others
_CODE = "dlrun_table"  # the package in the folder of a table's model
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MODE = "evaluation: an exported program needs no .eval(), and torch refuses to change it"


def save_model(
    module: "nn.Module",
    example: "Tensor",
    directory: str | Path,
    step: int = 0,
    classes: Sequence[str] = (),
    reading: Mapping[str, Any] | None = None,
    tables: Sequence[Mapping[str, Any]] = (),
    views: str = "",
) -> bool:
    """Save a module as an MLflow model with a signature, into a record; whether that can be done.

    module: on the CPU, in eval mode, from raw samples to logits; of tables from encoded ones.
    example: (n, ...) raw samples, uint8, uint16 or float32; two or more, else the batch
        size of the saved model may be fixed.
    step: the step that the weights are of.
    classes: their names, in the order of the logits.
    reading: how samples are made from image files; kept in the metadata as `images`.
    tables: how the columns of a table are read; of an ensemble for each member, whose inputs stand
        side by side in the example.
    views: what to say of a `test_augmentation` that the module does without.

    A model that cannot be saved is left out with one warning. Where only the disk is full, going on
    with the run saves it later.
    """
    directory = Path(directory)
    part = directory.with_name(f".{directory.name}.{os.getpid()}.part")
    if str(part).encode(errors="ignore") != os.fsencode(part):  # no UTF-8: torch would abort
        part = Path(tempfile.mkdtemp(prefix="dlrun-"))
    if len(example) == 1:
        example = example.repeat_interleave(2, 0)
    pickled: Exception | None = None
    told: dict[str, Any] = {"step": step} | ({"classes": list(classes)} if classes else {})
    told |= {"images": dict(reading)} if reading else {}
    told |= {"test_augmentation": views} if views else {}
    try:
        with quiet("mlflow", "torch"):
            try:
                _save(module, example, part, told | {"mode": _MODE}, _export, tables)
            except Exception as error:
                shutil.rmtree(part, ignore_errors=True)
                if is_full(error):
                    raise
                _save(module, example, part, told, _pickle, tables)
                pickled = error
        shutil.rmtree(directory, ignore_errors=True)
        shutil.move(part, directory)
    except Exception as error:
        shutil.rmtree(directory, ignore_errors=True)  # of earlier weights
        full = is_full(error)
        again = f"{FULL}; `{shell.resume(directory.parent)}` saves it"
        why = again if full else errors.told(error)[:300]
        _log.warning(f"the model was not saved for MLflow: {why}")
        return full
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if pickled is not None:
        why = errors.told(pickled)[:300]
        _log.warning(f"the model was saved as a pickle, which needs its class to load: {why}")
    return True


def register(
    client: "MlflowClient",
    experiment: str,
    run_id: str,
    directory: Path,
    known: str | None = None,
    once: Callable[[str, Callable[[], Any]], Any] = lambda what, make: make(),
    first: bool = False,
) -> str:
    """Make a saved model the model of a run, once; returns its id.

    known: the id that an earlier attempt got, if there was one. first: there was no attempt.
    once: sends the request that creates it; see `dlrun.tracking.late`.
    """
    from mlflow.entities import LoggedModelOutput

    found = None if first else _find(client, experiment, run_id, known)
    made = found or once(
        "model",
        lambda: client.create_logged_model(
            experiment, name=directory.name, source_run_id=run_id, model_type=_TYPE
        ),
    )
    model_id = str(made.model_id)
    content = bounds.read_plain(directory / "MLmodel") | {
        "artifact_path": made.artifact_location,
        "model_id": model_id,
        "model_uuid": model_id,
        "run_id": run_id,
    }
    client.log_model_artifacts(model_id, str(directory))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "MLmodel"
        path.write_text(_yaml(content), encoding="utf-8")
        client.log_model_artifact(model_id, str(path))
    client.finalize_logged_model(model_id, "READY")
    outputs = None if found is None else client.get_run(run_id).outputs
    there = outputs.model_outputs if outputs else []
    if all(output.model_id != model_id for output in there):
        step = (content.get("metadata") or {}).get("step", 0)
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    return model_id


def _find(client: "MlflowClient", experiment: str, run_id: str, known: str | None) -> Any | None:
    """The model that an earlier attempt created for the run; deletes one created twice."""
    mine = f"source_run_id = '{run_id}' AND model_type = '{_TYPE}'"
    found = list(client.search_logged_models([experiment], mine))
    found.sort(key=lambda model: str(model.model_id) != known)
    for twin in found[1:]:
        client.delete_logged_model(str(twin.model_id))
    return found[0] if found else None


Write = Callable[["nn.Module", "Tensor", Path], None]
"""Writes a module into a folder; the tensor is an example of its input."""


def _export(module: "nn.Module", x: "Tensor", folder: Path) -> None:
    from dlrun.tracking import program

    program.save(module, x, folder / "model.pt2")


def _pickle(module: "nn.Module", x: "Tensor", folder: Path) -> None:
    import torch
    from mlflow.pytorch import pickle_module

    (folder / "pickle_module_info.txt").write_text(pickle_module.__name__)
    written = io.BytesIO()
    torch.save(module, written, pickle_module=pickle_module)
    (folder / "model.pth").write_bytes(written.getbuffer())


def _save(
    module: "nn.Module",
    x: "Tensor",
    path: Path,
    told: dict[str, Any],
    write: Write,
    tables: Sequence[Mapping[str, Any]],
) -> None:
    """Write a directory that MLflow takes as a model, with `told` as its metadata.

    `mlflow.pytorch.save_model` writes the same, but its import takes longer than all the rest.
    The files are described in https://mlflow.org/docs/latest/ml/model.
    """
    import torch

    with torch.no_grad():
        result = module(x)
    (path / "data").mkdir(parents=True)
    write(module, x[:2], path / "data")
    python = platform.python_version()
    packages = _requirements(["mlflow", "torch"])
    loader, given = {"loader_module": "mlflow.pytorch"}, _arrays(x)
    if tables:
        packages += _requirements(["scikit-learn", "pandas", "numpy"])
        loader, given = _write_code(path, tables), _rows(tables)
    content = {
        "flavors": {
            "python_function": {
                "config": {"device": None},
                "data": "data",
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                **loader,
                "pickle_module_name": "mlflow.pytorch.pickle_module",
                "python_version": python,
            },
            "pytorch": {  # MLflow compares the version as torch itself says it, with +cpu or +cu130
                "code": None,
                "model_data": "data",
                "pytorch_version": str(torch.__version__),
            },
        },
        "metadata": told,
        "mlflow_version": version("mlflow"),
        "model_size_bytes": sum(file.stat().st_size for file in (path / "data").iterdir()),
        "model_uuid": uuid4().hex,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            **given.kind,
        },
        "signature": {"inputs": given.schema, "outputs": _schema(result), "params": None},
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
    }
    (path / "MLmodel").write_text(_yaml(content), encoding="utf-8")
    _write_environment(path, python, packages)
    (path / "input_example.json").write_text(json.dumps(given.sample))
    (path / "serving_input_example.json").write_text(json.dumps({given.key: given.sample}))


def _write_environment(path: Path, python: str, packages: Sequence[str]) -> None:
    """Say what has to be installed where the model is loaded."""
    environment = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(packages)}],
        "name": "mlflow-env",
    }
    virtual = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    for name, described in (("conda.yaml", environment), ("python_env.yaml", virtual)):
        (path / name).write_text(_yaml(described), encoding="utf-8")
    (path / "requirements.txt").write_text("\n".join(packages))


def _yaml(content: Mapping[str, Any]) -> str:
    return str(yaml.dump(content, Dumper=_DUMPER, sort_keys=False))


class _Given(NamedTuple):
    """An example of what a model takes, how it is written, and the signature of that."""

    sample: Any
    kind: dict[str, str]
    key: str
    schema: str


def _arrays(x: "Tensor") -> _Given:
    return _Given(x[:2].tolist(), {"type": "ndarray"}, "inputs", _schema(x))


def _rows(tables: Sequence[Mapping[str, Any]]) -> _Given:
    """Of the rows of a table, with the columns of all members: MLflow hands over no others.

    The columns may have any type: a number without holes may be whole, and a text all of digits.
    """
    import pandas as pd

    from dlrun.data.tables import encode

    every = pd.concat([encode.example(each) for each in tables], axis=1)
    row = every.loc[:, ~every.columns.duplicated()]
    kind = {"type": "dataframe", "pandas_orient": "split"}
    sample = {"columns": list(row), "data": row.to_numpy(object).tolist()}
    schema = [{"type": "any", "name": name, "required": True} for name in row]
    return _Given(sample, kind, "dataframe_split", json.dumps(schema))


def _write_code(path: Path, readings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Put what loads a table's model beside it, and how its columns are read; says where it is."""
    from dlrun.data import tables

    folder = path / "code" / _CODE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name in ("cells.py", "encode.py", "served.py"):
        shutil.copyfile(Path(tables.__path__[0]) / name, folder / name)
    text = json.dumps([dict(reading) for reading in readings])
    (path / "data" / "readings.json").write_text(text, encoding="utf-8")
    return {"loader_module": f"{_CODE}.served", "code": "code"}


def _schema(batch: "Tensor") -> str:
    """The entry of a model's signature for a batch of any size."""
    kind = {"dtype": str(batch.numpy().dtype), "shape": [-1, *batch.shape[1:]]}
    return json.dumps([{"type": "tensor", "tensor-spec": kind}])


def _requirements(packages: Sequence[str]) -> list[str]:
    """Without the local part of a version (+cpu, +cu130), which no package index has."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in packages]


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Without the messages of these libraries, on which the user cannot act."""
    loggers = [logging.getLogger(name) for name in libraries]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
