"""Any classifier of timm, fitted to the data's channels and classes."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlrun.errors import Mistake, first_line
from dlrun.model.blocks import require_image
from dlrun.model.pretrained import expect

_HUB = "https://huggingface.co"


def timm(
    shape: list[int], outputs: int, name: str = "resnet18", weights: str | bool | None = None
) -> nn.Module:
    """timm.create_model(name): (n, *shape) -> (n, outputs).

    weights: null draws them; DEFAULT, true, or a tag such as a1_in1k takes trained ones from
    torch.hub's folder `checkpoints`, where they are downloaded to, and draws a new classifier.
    Raises Mistake where timm is not installed, and where they are not there.
    """
    require_image(shape, "timm")
    try:
        import timm as library
    except ImportError:
        said = "model=timm: needs the library timm; in dlrun's checkout: pip install -e '.[timm]'"
        raise Mistake(said) from None
    plain, _, own_tag = name.partition(".")
    tag = weights if isinstance(weights, str) and weights != "DEFAULT" else own_tag
    if not library.is_model(plain):
        near = get_close_matches(plain, library.list_models(), n=3)
        some = ", ".join(near or ["resnet18", "convnext_tiny", "vit_tiny_patch16_224"])
        raise ValueError(f"name must be a classifier of timm, such as {some}, got {name}")
    tags = [each.partition(".")[2] for each in library.list_pretrained(f"{plain}.*")]
    if (weights or own_tag) and (tag not in tags if tag else not tags):
        known = f"null or one of {', '.join(['DEFAULT', *tags])}" if tags else "null"
        raise ValueError(f"weights must be {known} for {plain}, got {tag or weights}")
    config = library.get_pretrained_cfg(f"{plain}.{tag}" if tag else plain)
    options: dict[str, Any] = {"num_classes": outputs, "in_chans": shape[0]}
    if config is not None and config.fixed_input_size:
        options["img_size"] = tuple(shape[1:])
    if not weights:
        model: nn.Module = library.create_model(plain, **options)
    else:
        file = {"file": str(_file(config, f"{plain}.{config.tag}", weights))}
        options |= {"pretrained": True, "pretrained_cfg_overlay": file}
        model = library.create_model(f"{plain}.{config.tag}", **options)
    if config is not None and tags:
        expect(model, list(config.input_size[1:]), list(config.mean), list(config.std))
    return model


def _file(config: Any, name: str, weights: str | bool) -> Path:
    """The file of trained weights, which is downloaded where it is not there."""
    base = os.environ.get("HF_ENDPOINT", _HUB)
    inside = config.hf_hub_filename or "model.safetensors"
    url = f"{base}/{config.hf_hub_id}/resolve/main/{inside}" if config.hf_hub_id else config.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / f"{name}{Path(url).suffix}"
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file))
        except OSError as error:
            raise Mistake(
                f"model.weights={'true' if weights is True else weights}: cannot download {url} "
                f"({first_line(error)}); put that file there as {file}, or use model.weights=null"
            ) from error
    return file
