"""The matrices that layers multiply with, even if a layer computes its weight from others."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.rnn import RNNBase, RNNCellBase
from torch.nn.utils.parametrize import is_parametrized

ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
CELL = ("weight_ih", "weight_hh")


def layer_weights(layer: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters that hold this layer's own matrices; none for containers, norms.

    Those of convolution, linear and recurrent layers and the input projections of
    nn.MultiheadAttention. Where a layer computes its weight (weight norm, spectral norm, pruning
    in torch.nn.utils, old and new style) it is the largest of the parameters it is computed from:
    the direction of weight norm, not the lengths.
    """
    for name in _names(layer):
        if (stored := _stored(layer, name)) is not None:
            yield stored


def recomputed_weights(layer: nn.Module) -> Iterator[Tensor]:
    """Yield those of `layer_weights` that are not multiplied with themselves, but turned into
    something else first."""
    plain = {id(parameter) for parameter in _own(layer).values()}
    for name in _names(layer):
        stored = _stored(layer, name)
        if stored is not None and (id(stored) not in plain or name not in _own(layer)):
            yield stored


def weight_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all `layer_weights` of a model, in the order of named_parameters()."""
    found = {id(weight) for layer in model.modules() for weight in layer_weights(layer)}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) in found)


def recomputed_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all `recomputed_weights` of a model."""
    found = {id(weight) for layer in model.modules() for weight in recomputed_weights(layer)}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) in found)


def output_dims(model: nn.Module) -> dict[str, int]:
    """Return for each parameter the dimension whose indices are outputs of its layer.

    It is 0, the rows, except for transposed convolutions, whose weights are [inputs,
    outputs / groups, ...]: 1. With several groups an index there means one output of each.
    """
    transposed = {
        id(weight)
        for layer in model.modules()
        if isinstance(layer, _ConvTransposeNd)
        for weight in layer_weights(layer)
    }
    return {name: int(id(weight) in transposed) for name, weight in model.named_parameters()}


def transposed_groups(model: nn.Module) -> dict[str, int]:
    """Return the names of the weights of transposed convolutions, with their numbers of groups.

    They are stored "in out/groups *kernel" (see `core/layout.py`); the names of a parameter that
    several modules share are all there.
    """
    groups = {
        id(weight): layer.groups
        for layer in model.modules()
        if isinstance(layer, _ConvTransposeNd)
        for weight in layer_weights(layer)
    }
    named = model.named_parameters(remove_duplicate=False)
    return {name: groups[id(weight)] for name, weight in named if id(weight) in groups}


def _names(layer: nn.Module) -> tuple[str, ...]:
    """Return the names under which a layer's forward pass looks for its matrices."""
    if isinstance(layer, (_ConvNd, nn.Linear)):
        return ("weight",)
    if isinstance(layer, nn.MultiheadAttention):
        return ATTENTION
    if isinstance(layer, RNNCellBase):
        return CELL
    if isinstance(layer, RNNBase):
        return tuple(name for name in layer._flat_weights_names if name.startswith("weight"))
    return ()


def _stored(layer: nn.Module, name: str) -> Tensor | None:
    """Return the parameter behind `name`; None if the layer has none."""
    own = _own(layer)
    if name in own:
        return own[name]
    if is_parametrized(layer, name):
        assert isinstance(layer.parametrizations, nn.ModuleDict)
        sources = list(layer.parametrizations[name].parameters(recurse=False))
    else:
        # The older style: a hook computes `weight` from weight_g and weight_v, or weight_orig.
        sources = [tensor for key, tensor in own.items() if key.startswith(f"{name}_")]
    # Of equally large ones the last: the direction of weight norm comes after the lengths.
    return max(reversed(sources), key=lambda tensor: tensor.numel(), default=None)


def _own(layer: nn.Module) -> dict[str, nn.Parameter]:
    return dict(layer.named_parameters(recurse=False, remove_duplicate=False))
