"""What a forward pass multiplies with what, seen where PyTorch runs it and not in its layers.

A weight is recognised by its memory, however it arrives: through a layer, through F.linear, through
einsum, as a slice, or as something computed from it. Layers that the program has never heard of
are therefore counted like those of torch.nn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from sparsekit.models.examples import Example, inputs_of, require_shapes, run_example, tensors_in
from sparsekit.models.layers import recomputed_names, weight_names
from sparsekit.models.operations import (
    RECURRENT,
    SCALING,
    cost_of,
    costs,
    factors_of,
    only_reads,
)

Names = frozenset[str]
NOTHING: Names = frozenset()


@dataclass(frozen=True)
class Factor:
    """One side of a multiplication, if it does not depend on the input but on parameters.

    `sources` are the names of these parameters. The numbers are those of the memory that the
    operation read from, at that moment: a slice counts as what it was cut from.
    """

    sources: Names
    num_elements: int
    num_zeros: int
    is_finite: bool


@dataclass(frozen=True)
class Trace:
    """What was seen of one forward pass.

    per_weight: operations of the multiplications with each parameter, those that have any.
    other: operations of multiplications that no single parameter takes part in.
    unknown: parameter -> an operation that used it and that cannot be counted.
    used: parameters that met the input at all, in whatever operation.
    factors: what was multiplied with, if it was asked for.
    outputs: for each tensor that the network returned, its shape and the parameters of the last
        multiplications before it: its classifiers.
    """

    per_weight: Mapping[str, int]
    other: int
    unknown: Mapping[str, str]
    used: Names
    factors: Sequence[Factor]
    outputs: Sequence[tuple[torch.Size, Names]]


def trace(model: nn.Module, example: Example, *, with_factors: bool = False) -> Trace:
    """Run `example` through `model` and return which parameters did what; changes nothing."""
    require_shapes(model)
    inputs = inputs_of(model, example)
    tracer = _Tracer(model, tensors_in(inputs), with_factors=with_factors)
    with tracer:
        outputs = tensors_in(run_example(model, inputs))
    return Trace(
        per_weight=tracer.per_weight,
        other=tracer.other,
        unknown=tracer.unknown,
        used=frozenset(tracer.used),
        factors=tracer.factors,
        outputs=[(output.shape, tracer.makers(output)) for output in outputs],
    )


@dataclass(frozen=True)
class _Place:
    """Where in a storage a parameter lies: its elements [first, last)."""

    name: str
    first: int
    last: int


@dataclass
class _Memory:
    """What is known of tensors, by their storage: views share it.

    data: those that depend on the input -> the parameters of the last multiplications before.
    made: constants that were computed -> the parameters they were computed from.
    """

    parameters: dict[StorageWeakRef, list[_Place]] = field(default_factory=dict)
    data: dict[StorageWeakRef, Names] = field(default_factory=dict)
    made: dict[StorageWeakRef, Names] = field(default_factory=dict)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches every operation below autograd."""

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module, inputs: Iterable[Tensor], *, with_factors: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.per_weight: dict[str, int] = {}
        self.other = 0
        self.unknown: dict[str, str] = {}
        self.used: set[str] = set()
        self.factors: list[Factor] = []
        self._with_factors = with_factors
        self._sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        self._layers = frozenset(weight_names(model))
        self._recomputed = frozenset(recomputed_names(model))
        self._memory = _Memory()
        for name, parameter in model.named_parameters():
            place = _Place(name, *_extent(parameter))
            self._memory.parameters.setdefault(_storage(parameter), []).append(place)
        for tensor in inputs:
            self._memory.data[_storage(tensor)] = NOTHING

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload):
            return func(*args, **named)
        if func.overloadpacket not in costs():
            with self:
                parts = func.decompose(*args, **named)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **named)
        self._note(func, args, named, out)
        return out

    def makers(self, tensor: Tensor) -> Names:
        """Return the parameters of the last multiplications before `tensor`."""
        return self._memory.data.get(_storage(tensor), NOTHING)

    def _note(self, func: Any, args: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> None:
        inputs = tensors_in((args, named))
        depends = any(self._is_data(tensor) for tensor in inputs)
        makers = NOTHING.union(*(self.makers(tensor) for tensor in inputs))
        sources = NOTHING.union(*(self._sources(tensor) for tensor in inputs))
        if depends:
            self.used |= sources
        factors = factors_of(func.overloadpacket, args, depends=depends)
        if factors:
            cost = cost_of(func.overloadpacket, args, named, out)
            multiplied, sources = self._multiply(func, factors, cost)
            makers = multiplied or makers
        elif depends and (lost := self._not_understood(func, inputs)):
            self.unknown |= dict.fromkeys(sorted(lost), str(func.overloadpacket))
            makers = lost if func.overloadpacket not in SCALING else makers
        for tensor in tensors_in(out):
            self._remember(tensor, makers if depends else None, sources)

    def _multiply(
        self, func: Any, factors: Sequence[Tensor], cost: Callable[[Tensor], int]
    ) -> tuple[Names, Names]:
        """Count one multiplication; returns whose it is, and what its result is computed from.

        A plain weight that is applied as it is has done its work; what is computed further from
        the result does not carry its zeros, and need not. A weight that is itself made of the
        product, as with orthogonal parametrisations, must be followed.
        """
        constant = [tensor for tensor in factors if self._sources(tensor)]
        for tensor in constant:
            self.used |= self._sources(tensor)
            if self._with_factors:
                self.factors.append(_factor(self._sources(tensor), tensor))
        recurrent = func.overloadpacket in RECURRENT
        counted = constant if recurrent else sorted(constant, key=self._rank)[-1:]
        for tensor in counted:
            self._charge(tensor, cost(tensor), str(func.overloadpacket))
        if not counted:
            self.other += cost(factors[0])
        followed = [self._sources(t) for t in constant if not self._is_plain(t)]
        return NOTHING.union(*(self._sources(t) for t in counted)), NOTHING.union(*followed)

    def _charge(self, tensor: Tensor, cost: int, operation: str) -> None:
        """Add operations to the parameters that a factor holds, in proportion to their sizes."""
        shares = self._shares(tensor)
        if not shares:
            self.other += cost
            self.unknown |= dict.fromkeys(sorted(self._sources(tensor)), operation)
            return
        total = sum(shares.values())
        for name, share in shares.items():
            self.per_weight[name] = self.per_weight.get(name, 0) + cost * share // total

    def _shares(self, tensor: Tensor) -> dict[str, int]:
        """Return the parameters that a factor holds and their element counts; empty if unclear."""
        if places := self._places(tensor):
            first, last = _extent(tensor)
            return {p.name: min(last, p.last) - max(first, p.first) for p in places}
        sources = sorted(self._sources(tensor))
        num_elements = _num_stored(tensor)
        equal = [name for name in sources if self._sizes[name] == num_elements]
        if best := [name for name in equal if name in self._layers] or equal:
            return {best[0]: 1}
        layers = {name: self._sizes[name] for name in sources if name in self._layers}
        if len(layers) == 1 and num_elements % sum(layers.values()) == 0:
            return layers
        return layers if sum(layers.values()) == num_elements else {}

    def _rank(self, tensor: Tensor) -> tuple[bool, bool]:
        """Rank constant factors: the weight is a layer's, used as it is, or else the last."""
        return not self._layers.isdisjoint(self._sources(tensor)), bool(self._places(tensor))

    def _not_understood(self, func: Any, inputs: Sequence[Tensor]) -> Names:
        """Return the parameters that meet the input as matrices in an operation of unknown cost."""
        if only_reads(func):
            return NOTHING
        matrices = [t for t in inputs if not self._is_data(t) and _is_matrix(t)]
        return NOTHING.union(*(self._sources(tensor) for tensor in matrices))

    def _remember(self, tensor: Tensor, makers: Names | None, sources: Names) -> None:
        """Note what a result is; None: it does not depend on the input."""
        storage = _storage(tensor)
        self._memory.data.pop(storage, None)
        self._memory.made.pop(storage, None)
        if storage in self._memory.parameters:
            return
        if makers is not None:
            self._memory.data[storage] = makers
        elif sources:
            self._memory.made[storage] = sources

    def _is_data(self, tensor: Tensor) -> bool:
        return _storage(tensor) in self._memory.data

    def _is_plain(self, tensor: Tensor) -> bool:
        places = self._places(tensor)
        return bool(places) and all(place.name not in self._recomputed for place in places)

    def _sources(self, tensor: Tensor) -> Names:
        """Return the parameters that a constant is, or is computed from."""
        if places := self._places(tensor):
            return frozenset(place.name for place in places)
        return self._memory.made.get(_storage(tensor), NOTHING)

    def _places(self, tensor: Tensor) -> list[_Place]:
        """Return the parameters that a tensor is a view of; several only in one storage."""
        first, last = _extent(tensor)
        known = self._memory.parameters.get(_storage(tensor), [])
        return [place for place in known if first < place.last and place.first < last]


def _factor(sources: Names, view: Tensor) -> Factor:
    whole = view.detach().as_strided((_num_stored(view),), (1,), 0)
    num_zeros, is_finite = int((whole == 0).sum()), bool(whole.isfinite().all())
    return Factor(sources, whole.numel(), num_zeros, is_finite)


def _storage(tensor: Tensor) -> StorageWeakRef:
    # A weak reference keeps the address from being given to another storage.
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Return the first element of a view in its storage, and one past the last."""
    first = int(tensor.storage_offset())
    if not tensor.numel():
        return first, first
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return first, first + 1 + sum((size - 1) * stride for size, stride in steps)


def _num_stored(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _is_matrix(tensor: Tensor) -> bool:
    return sum(size > 1 for size in tensor.shape) > 1
