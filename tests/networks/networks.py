"""Networks to be transformed, with weights and masks drawn at random."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, State
from sparsekit.models.prunable import prunable
from sparsekit.networks.equality import in_float64
from sparsekit.networks.network import Network
from sparsekit.store.identity import describe


def network(
    builder: Callable[..., nn.Module], *shape: int, dtype: str = "float32", **settings: Any
) -> Network:
    bound = functools.partial(builder, **settings)
    return Network(describe(bound), {"shape": [1, *shape], "dtype": dtype}, 10, seed=0)


def drawn_state(of: Network, *, shifts: bool) -> State:
    """Weights of the builder; biases, gains and statistics drawn, or, without shifts, no constant
    but 0 behind an empty row."""
    generator = torch.Generator().manual_seed(1)
    state = {name: tensor.clone() for name, tensor in of.build().state_dict().items()}
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            drawn = torch.rand(tensor.shape, generator=generator) - 0.5
            if name.endswith(("bias", "running_mean")):
                state[name] = drawn if shifts else torch.zeros_like(tensor)
            else:
                state[name] = tensor + 0.5 * drawn
    return state


def masks_with_empty_rows(of: Network, rows: float = 0.3, columns: float = 0.2) -> Masks:
    """Masks that empty fractions of the rows, the classifier's aside, and of the columns."""
    generator = torch.Generator().manual_seed(2)
    model = of.build()
    shapes = {name: model.get_parameter(name).shape for name in prunable(model, of.example())}
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    last = list(masks)[-1]
    for name, mask in masks.items():
        if name != last:
            mask[torch.rand(len(mask), generator=generator) < rows] = False
        if mask.shape[1] > 8:
            mask[:, torch.rand(mask.shape[1], generator=generator) < columns] = False
    return masks


def outputs(of: Network, state: State, masks: Masks, inputs: torch.Tensor) -> torch.Tensor:
    """Outputs in float64 and evaluation mode; the float32 weights as they are."""
    model = of.build().double()
    model.load_state_dict(apply(in_float64(state), masks))
    with torch.no_grad():
        return model.eval()(inputs.double() if inputs.is_floating_point() else inputs)
