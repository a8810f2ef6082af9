"""`dlrun export`: a trained network as one file for other programs, preprocessing inside."""

import importlib.util
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun import errors, record, shell
from dlrun.errors import DlrunError, Failure, Mistake
from dlrun.recipe import suggest
from dlrun.tracking import imports
from dlrun.tracking.model import quiet
from dlrun.verb.asked import Asked
from dlrun.verb.opened import Opened, opened, trained_record

if TYPE_CHECKING:
    from torch import Tensor, nn

_log = logging.getLogger("dlrun")
_ENDINGS = {"torch": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_CHECKED = 64
"""Samples on which the file is compared with the network."""
_TOLERANCE = 1e-5
"""How far their outputs may be apart, as a share of the largest, or of 1 where that is less."""


_PACKAGE = '''"""The columns of a table as the inputs of a network."""

import json
from pathlib import Path

from . import encode

_READING = json.loads(Path(__file__).with_name("reading.json").read_text(encoding="utf-8"))
_COLUMNS = encode.transformer(_READING["columns"])


def inputs(table):
    """(n, inputs) float32 of a pandas DataFrame with the columns of the training table."""
    return encode.encode(table, _READING, _COLUMNS).x
'''


@dataclass(frozen=True)
class Exported:
    """What is written: samples as they are stored in, logits or numbers in their units out.

    x: real samples, or random ones where the data have gone. told: what the file says of itself.
    """

    module: "nn.Module"
    x: "Tensor"
    real: bool
    told: Mapping[str, Any]


def run(asked: Asked) -> int:
    """Write the file, compare it with the network, and say what it takes and gives."""
    kind, path = _target(asked)
    if kind == "onnx":
        _require_onnx()
    directory = trained_record(asked)
    path = path or Path(directory.name + _ENDINGS[kind])
    with opened(asked, str(directory)) as made, imports.quick():
        what = _exported(made)
        exporters = quiet("torch", "onnxscript", "onnx_ir")
        with record.replacing(path) as part, exporters, redirect_stdout(StringIO()):
            said = _written(kind, made, what, part)
        beside = _write_columns(made, path)
    print(shell.clean(f"{shell.near(path)}  {path.stat().st_size / 1e6:.2f} MB"))
    views = what.told.get("test_augmentation")
    for line in (_takes(what), said, beside, views and f"test_augmentation={views}"):
        if line:
            print(shell.clean(f"  {line}"))
    return 0


def _written(kind: str, made: Opened, what: Exported, path: Path) -> str:
    """Write the file; how it is used, and how near it is. Raises Failure where it cannot be."""
    try:
        return _WRITERS[kind](made, what, path)
    except (DlrunError, OSError):
        raise
    except Exception as error:  # of the exporter, which does not take every network
        raise Failure(f"the network cannot be written as {kind}: {errors.told(error)}") from error


def _target(asked: Asked) -> tuple[str, Path | None]:
    """The format and the file. Raises Mistake where they don't fit, or it cannot be written."""
    named = asked.flags.get("-o", "")
    path = shell.path(named, "-o") if named else None
    by_name = {ending: kind for kind, ending in _ENDINGS.items()}
    guessed = by_name.get(path.suffix, "") if path is not None else ""
    kind = asked.flags.get("--format") or guessed
    if not kind:
        if path is not None:
            endings = ", ".join(_ENDINGS.values())
            near = suggest.nearest(path.suffix, [*_ENDINGS.values()]) if path.suffix else ""
            raise Mistake(f"-o {named}: end it in {endings}, or write --format{near}")
        kind = "torch"
    if guessed and guessed != kind:
        raise Mistake(f"-o {named}: a file of --format {kind} ends in {_ENDINGS[kind]}")
    if path is not None and path.is_dir():
        raise Mistake(f"-o {named}: is a directory; write the file, e.g. model{_ENDINGS[kind]}")
    if path is not None and not path.absolute().parent.is_dir():
        raise Mistake(f"-o {named}: there is no directory {shell.near(path.absolute().parent)}")
    folder = path.absolute().parent if path is not None else Path.cwd()
    if why := record.unwritable(folder):
        given = f"-o {named}: its directory" if named else "this directory"
        raise Mistake(f"{given} cannot be written: {why}; name another place with -o")
    return kind, path


def _require_onnx() -> None:
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise Mistake(
            f"--format onnx: needs {', '.join(lacking)}; pip install 'dlrun[onnx]', in a checkout "
            "pip install '.[onnx]'"
        )


def _exported(made: Opened) -> Exported:
    """The network with its preprocessing, and samples to try it on."""
    from dlrun.data.depth import raw_example
    from dlrun.procedure.train import deployable
    from dlrun.test_augmentation import left_out

    module = deployable(made.run)
    try:
        x, real = raw_example(made.data, _CHECKED), True
    except DlrunError as error:
        _log.warning(f"the data cannot be read, so random samples stand in for them: {error}")
        x, real = raw_example(made.run.data, _CHECKED), False
    if len(x) == 1:
        x = x.repeat_interleave(2, 0)
    about, link = made.info["data"], made.run.loss.link
    told: dict[str, Any] = {
        "dlrun": version("dlrun"),
        "run": made.directory.name,
        "name": str(made.info.get("name", "")),
        "input": {"dtype": str(x.dtype).removeprefix("torch."), "shape": [None, *x.shape[1:]]},
        "output": _output(made),
    }
    if made.run.classes:
        told["classes"] = list(about["classes"])
    if made.run.labels:
        told["labels"] = made.targets(about["outputs"])
    if made.run.classes or made.run.labels:
        told["probabilities"] = f"{link} of the output" if link else "the output is a score"
    if (views := left_out(made.run.views, made.run.evaluation, x)) and not made.run.reconstructs:
        told["test_augmentation"] = views
    if about.get("columns"):
        told["columns"] = list(about["columns"])
    if about.get("reading"):
        told["reading"] = about["reading"]
    return Exported(module, x, real, told)


def _output(made: Opened) -> str:
    run = made.run
    if run.classes:
        return "logits"
    if run.labels:
        return "the logits of the labels, whose sigmoid is their probability"
    kind = "logits whose sigmoid is " if run.loss.link == "sigmoid" else ""
    if run.reconstructs:
        return f"{kind}the input as the network gives it back, preprocessed"
    return f"{kind}numbers in the units of the data"


def _write_torch(made: Opened, what: Exported, path: Path) -> str:
    import torch

    from dlrun.tracking import program as programs

    told = json.dumps(what.told)
    programs.save(what.module, what.x[:2], path, {"dlrun.json": told})
    program = torch.export.load(path).module()
    with torch.no_grad():
        apart = _check(what, lambda x: program(x))
    return f"torch.export.load(...).module()(x); {apart}"


def _write_onnx(made: Opened, what: Exported, path: Path) -> str:
    import onnx
    import onnxruntime
    import torch

    batches = {0: torch.export.Dim("batch")}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["output"]}
    program = torch.onnx.export(
        *(what.module, (what.x[:2],)),
        dynamo=True,
        dynamic_shapes=(batches,),
        verbose=False,
        **names,
    )
    assert program is not None
    model = program.model_proto
    for key, value in what.told.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, path)
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    apart = _check(what, lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0]))
    return f"in onnxruntime, x in and output out; {apart}"


def _write_safetensors(made: Opened, what: Exported, path: Path) -> str:
    import torch
    from safetensors.torch import load_file, save

    parts = {"preprocessing": made.run.evaluation, "model": made.run.model}
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous().clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    if made.run.scale is not None:
        scale = made.run.scale
        tensors |= {"scale.mean": scale.mean.clone(), "scale.std": scale.std.clone()}
    recipe = (made.directory / "recipe.yaml").read_text(encoding="utf-8")
    path.write_bytes(save(tensors, {"dlrun": json.dumps(what.told), "recipe": recipe}))
    back = load_file(path)
    if any(not torch.equal(value, back[name]) for name, value in tensors.items()):
        raise Failure(f"{path}: does not hold what was written")
    named = "".join(f"the {key} and " for key in ("classes", "labels") if key in what.told)
    return (
        f"{len(tensors)} tensors: weights of the model, numbers of its preprocessing; "
        f"the metadata have {named}the recipe"
    )


_WRITERS: Mapping[str, Callable[[Opened, Exported, Path], str]] = {
    "torch": _write_torch,
    "onnx": _write_onnx,
    "safetensors": _write_safetensors,
}


def _check(what: Exported, call: "Callable[[Tensor], Tensor]") -> str:
    """How far a file is from the network, for batches of several sizes.

    Raises Failure where that is too much.
    """
    import torch

    with torch.no_grad():
        wanted = what.module(what.x)
    found = torch.cat([call(what.x[:1]), call(what.x[1:])])
    apart, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
    if not apart <= _TOLERANCE * max(1.0, largest):
        raise Failure(
            f"the file gives other outputs than the network: they are {apart:.2g} apart; "
            "nothing was written"
        )
    kind = "real" if what.real else "random"
    return (
        f"checked on {shell.counted(len(what.x), f'{kind} sample')}: outputs of up to "
        f"{largest:.3g} are at most {apart:.1g} apart"
    )


def _takes(what: Exported) -> str:
    shape = "×".join(map(str, what.x.shape[1:]))
    kind = str(what.x.dtype).removeprefix("torch.")
    outputs = what.told["output"]
    return f"takes a batch of {kind} samples of shape {shape}, gives {outputs}"


def _write_columns(made: Opened, path: Path) -> str:
    """Write how the columns of a table become inputs, as a package beside the file.

    What is said of it; "" where all columns are numbers, taken as they are.
    """
    from dlrun.data import tables

    columns = (made.info["data"].get("reading") or {}).get("columns", ())
    if all(each["kind"] == "number" and not each["flag"] for each in columns):
        return ""
    folder = path.with_name("columns_of_" + re.sub(r"\W", "_", path.stem))
    with record.guard(folder):
        folder.mkdir(exist_ok=True)
        for name in ("cells.py", "encode.py"):
            shutil.copyfile(Path(tables.__path__[0]) / name, folder / name)
    reading = record.text(made.info["data"]["reading"], indent=2)
    record.write(folder / "reading.json", reading + "\n")
    record.write(folder / "__init__.py", _PACKAGE)
    return (
        "begins after the column step, in which text, dates and missing values become numbers: "
        f"from {folder.name} import inputs; x = inputs(table), with only pandas and scikit-learn"
    )
