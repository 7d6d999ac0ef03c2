"""Tensors that have several names in a state dict: tied weights, layers used twice."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def tied_names(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return all state-dict names of each shared tensor, under the first of them.

    Parameters and buffers alike; tensors with one name are left out. Two names are one tensor if
    they are the same view of the same memory. Raises ValueError for parameters that share memory
    in any other way, such as one being the transpose of the other: a mask could not be
    written under the name of the second.

    >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
    >>> second.weight = first.weight
    >>> tied_names(nn.Sequential(first, second))
    {'0.weight': ('0.weight', '1.weight')}
    """
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in _stored(model):
        groups.setdefault(_view(tensor), []).append(name)
    _refuse_overlaps(model)
    return {names[0]: tuple(names) for names in groups.values() if len(names) > 1}


def load_state_(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict into `model`, in place; where names are tied, the first one counts.

    Masks are known by first names, so those hold what was pruned, averaged or trained; the
    values under other names may be older. Loaded as it is, PyTorch would let the last name win.
    Raises RuntimeError for missing and unexpected names, as load_state_dict does.
    """
    model.load_state_dict(under_every_name(model, state))


def under_every_name(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors`, a state or masks, with those of first names under the tied names as well.

    A name whose tied names are missing altogether stays missing.
    """
    tied = tied_names(model)
    copies = {
        name: tensors[first] for first, names in tied.items() if first in tensors for name in names
    }
    return {**tensors, **copies}


def _stored(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and not is_lazy(tensor) and tensor.numel():
            yield name, tensor


def _view(tensor: Tensor) -> tuple[object, ...]:
    # Views that modules keep of one parameter are different objects.
    storage, first = tensor.untyped_storage()._cdata, tensor.storage_offset()
    return storage, first, tensor.shape, tensor.stride(), tensor.dtype


def _refuse_overlaps(model: nn.Module) -> None:
    spans: dict[object, list[tuple[int, int, str]]] = {}
    views: set[tuple[object, ...]] = set()
    for name, tensor in model.named_parameters():
        if not is_lazy(tensor) and tensor.numel() and _view(tensor) not in views:
            views.add(_view(tensor))
            first = int(tensor.storage_offset())
            reach = zip(tensor.shape, tensor.stride(), strict=True)
            last = first + sum((size - 1) * step for size, step in reach)
            spans.setdefault(tensor.untyped_storage()._cdata, []).append((first, last, name))
    for together in spans.values():
        together.sort()
        for (_, last, name), (first, _, other) in pairwise(together):
            if first <= last:
                raise ValueError(
                    f"{name} and {other} share memory without being the same tensor; "
                    "give them one parameter, and transpose or slice it in forward"
                )
