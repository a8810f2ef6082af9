"""Any classifier of torchvision, fitted to the data's channels and classes."""

from difflib import get_close_matches
from typing import Any, cast

import torch
from torch import nn
from torchvision import models

from dlrun.errors import Mistake
from dlrun.model.blocks import require_image
from dlrun.model.pretrained import expect


def torchvision(
    shape: list[int], outputs: int, name: str = "resnet18", weights: str | None = None
) -> nn.Module:
    """torchvision.models.<name>: (n, *shape) -> (n, outputs).

    weights: null draws them; DEFAULT or a name such as IMAGENET1K_V1 downloads trained ones and
    draws a new classifier. Where images don't have three channels, the first convolution is
    replaced; a trained one is averaged over its channels, so that a grey image gives what its
    three equal channels would give.
    """
    require_image(shape, "torchvision")
    known = models.list_models(module=models)
    if name not in known:
        near = get_close_matches(name, known, n=3) or ["resnet18", "vgg11", "vit_b_16"]
        raise ValueError(
            f"name must be a classifier of torchvision, such as {', '.join(near)}, got {name}"
        )
    if weights is None:
        options: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):
            # The auxiliary classifiers are for training only and change what forward returns.
            options = {"aux_logits": False, "init_weights": True}
        if name.startswith("vit_"):
            _require_patches(name, shape)
            options["image_size"] = shape[1]
        if name.startswith("maxvit"):
            options["input_size"] = tuple(shape[1:])
        model: nn.Module = models.get_model(name, weights=None, num_classes=outputs, **options)
    else:
        model = _trained(name, weights)
        _replace_classifier(model, outputs)
        seen = models.get_model_weights(name)[weights].transforms()
        expect(model, seen.crop_size * 2, seen.mean, seen.std)
    if shape[0] != 3:
        _replace_first(model, shape[0], trained=weights is not None)
    return model


def _require_patches(name: str, shape: list[int]) -> None:
    """Raise Mistake for images that cannot be cut into the patches of a vision transformer."""
    side = int(name.rpartition("_")[2])
    if shape[1] != shape[2] or shape[1] % side:
        raise Mistake(
            f"model.name={name}: needs squares with sides of {side}, {2 * side}, {3 * side} ... "
            f"pixels, and the images are {shape[1]}x{shape[2]}; resize them, as with "
            f"data.size={4 * side} for files of images, or choose another model"
        )


def _trained(name: str, weights: str) -> nn.Module:
    choices = models.get_model_weights(name)
    if weights not in choices.__members__:
        raise ValueError(
            f"weights must be null or one of {', '.join(choices.__members__)}, got {weights}"
        )
    try:
        model: nn.Module = models.get_model(name, weights=choices[weights])
    except OSError as error:
        raise Mistake(
            f"model.weights={weights}: cannot download {choices[weights].url} ({error}); "
            f"put that file into {torch.hub.get_dir()}/checkpoints, or use model.weights=null"
        ) from error
    if name == "inception_v3":  # of googlenet torchvision itself takes them off
        own = cast(Any, model)
        own.aux_logits, own.AuxLogits = False, None
    return model


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _replace_classifier(model: nn.Module, outputs: int) -> None:
    """A new last layer; it is a 1×1 convolution in SqueezeNet."""
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, last = layers[-1]
    bias = last.bias is not None
    if isinstance(last, nn.Linear):
        _replace(model, name, nn.Linear(last.in_features, outputs, bias=bias))
    else:
        _replace(model, name, nn.Conv2d(last.in_channels, outputs, 1, bias=bias))


def _replace_first(model: nn.Module, channels: int, trained: bool) -> None:
    """A new first convolution, for this number of channels."""
    name, old = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        (old.kernel_size[0], old.kernel_size[1]),
        (old.stride[0], old.stride[1]),
        old.padding if isinstance(old.padding, str) else (old.padding[0], old.padding[1]),
        bias=old.bias is not None,
    )
    if trained:
        with torch.no_grad():
            grey = old.weight.sum(1, keepdim=True) / channels
            new.weight.copy_(grey.expand_as(new.weight))
            if new.bias is not None and old.bias is not None:
                new.bias.copy_(old.bias)
    if hasattr(model, "transform_input"):
        cast(Any, model).transform_input = False  # it expects three channels
    _replace(model, name, new)
