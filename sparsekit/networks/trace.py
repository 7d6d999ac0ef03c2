"""What a network does with an example: every call of a tensor function, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparsekit.data.batches import Inputs, call, tensors_of

LEAVING = ("setitem", "numpy", "tolist", "item", "bool", "float", "int", "index")
"""Functions without a tensor as their result, after which values are used out of sight."""


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a tensor function; tensors are kept, so that each is known by its identity."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    @property
    def name(self) -> str:
        """Name of the function; of `x.add_(y)`, `x + y` and `torch.add(x, y)` alike: add."""
        return str(getattr(self.function, "__name__", "function")).strip("_")

    @property
    def in_place(self) -> bool:
        """Whether it changes its first argument."""
        written = str(getattr(self.function, "__name__", ""))
        if written.startswith("__"):
            return written.startswith(("__i", "__set"))
        asked = self.kwargs.get("inplace") is True or any(one is True for one in self.args[1:])
        return written.endswith("_") or (asked and self.result is self.args[0])

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument, wherever it was given."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    def tensors(self) -> list[Tensor]:
        """List the tensors among the arguments, in lists as well."""
        return list(_tensors((*self.args, *self.kwargs.values())))

    def results(self) -> list[Tensor]:
        """List the tensors that come out."""
        return list(_tensors(self.result))


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """The calls of one forward pass, its inputs and outputs, parameters and buffers by identity.

    `shared`: names of tensors that are in the model more than once.
    """

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    names: dict[int, str]
    shared: frozenset[str]
    model: nn.Module

    def name(self, tensor: Any) -> str | None:
        """Return the name of a parameter or buffer; None for any other value."""
        return self.names.get(id(tensor)) if isinstance(tensor, Tensor) else None


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        result = func(*args, **named)
        made = Call(func, tuple(args), dict(named), result)
        if made.results() or made.name in LEAVING:
            self.calls.append(made)
        return result


def trace(model: nn.Module, inputs: Inputs) -> Trace:
    """Run `model` once, in evaluation mode, and take down what it calls.

    It records the functions of torch, of `torch.nn.functional` and of tensors, wherever they are
    called: the forward pass is not rewritten, so any network that runs can be traced.
    """
    names: dict[int, str] = {}
    shared = set()
    for name, tensor in _named_tensors(model):
        if names.setdefault(id(tensor), name) != name:
            shared.add(names[id(tensor)])
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        result = call(model.eval(), inputs)
    outputs = tuple(_tensors(result))
    return Trace(
        tuple(recorder.calls), tuple(tensors_of(inputs)), outputs, names, frozenset(shared), model
    )


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers, one that is in the model twice under both names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
