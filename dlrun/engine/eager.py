"""Parts of torch without the machinery of `torch.compile`, which only `compile=true` uses.

torch imports `torch._dynamo` when an optimizer adds its first group, takes its first step or
gives its state: 900 modules, as long as importing torch itself takes, only to tell a compiler
that looks on to leave these functions alone. `functools.wraps` keeps each function itself in
`__wrapped__`; it is called here instead, and computes the same. Where a release of torch wraps
it in another way, it stays as it is.
"""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as torchs

_HIDDEN_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def eager(make: Callable[[Any], Optimizer], parameters: Any) -> Optimizer:
    """The optimizer `make(parameters)`, which imports nothing that only a compiler needs."""
    for name in _HIDDEN_METHODS:
        unhide(getattr(Optimizer, name))
    optimizer = make(parameters)
    for each in (optimizer, *vars(optimizer).values()):  # one may call another, as SAM does
        if isinstance(each, Optimizer):
            _unwrap_step(each)
    return optimizer


def _unwrap_step(optimizer: Optimizer) -> None:
    hooked: Any = type(optimizer).step
    graded: Any = getattr(hooked, "__wrapped__", None)
    known = _wraps(hooked, "wrapper", torchs) and _wraps(graded, "_use_grad", torchs)
    if known and not optimizer.defaults.get("differentiable"):
        _replace_step(optimizer, torch.no_grad()(graded.__wrapped__))


def unhide(hidden: Any) -> None:
    """Let a function that torch hides from compilers be called without one."""
    if _wraps(hidden, "inner", torch._compile):
        function = hidden.__wrapped__
        # torch keeps here what it calls in its place, once it has imported the compiler.
        function.__dict__.setdefault("__dynamo_disable", function)


def _replace_step(optimizer: Optimizer, step: Callable[..., Any]) -> None:
    hooked = Optimizer.profile_hook_step(step)
    itself = weakref.ref(optimizer)  # a cycle would keep its memory on the device for long

    def bound(*arguments: Any, **named: Any) -> Any:
        owner = itself()
        assert owner is not None
        return (hooked if _has_hooks(owner) else step)(owner, *arguments, **named)

    bound.__signature__ = inspect.signature(optimizer.step)  # type: ignore[attr-defined]
    optimizer.step = bound  # type: ignore[method-assign]


def _wraps(function: Any, name: str, module: Any) -> bool:
    """Whether a function is the wrapper of that name which a module of torch makes."""
    code, scope = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    known = getattr(code, "co_name", "") == name and scope.get("__name__") == module.__name__
    return known and callable(getattr(function, "__wrapped__", None))


def _has_hooks(optimizer: Optimizer) -> bool:
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torchs._global_optimizer_pre_hooks
        or torchs._global_optimizer_post_hooks
    )
