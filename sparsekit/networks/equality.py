"""Whether two networks give the same outputs, for transformations that must not change them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsekit.core.types import Probe, State
from sparsekit.data.batches import Inputs, call, concatenate, map_tensors, tensors_of
from sparsekit.models.tied import load_state_
from sparsekit.networks.network import Network

TOLERANCE = 1e-9
TOLERANCE_FLOAT32 = 1e-4
NUM_DRAWN = 8

Weighted = tuple[Network, State]


@torch.no_grad()
def require_equal_outputs(before: Weighted, after: Weighted, probe: Probe | None) -> float:
    """Return the largest difference of the outputs of two networks, in evaluation mode.

    On the probe's batch of training examples, without a probe on numbers drawn from N(0, 1) in the
    form of the example. In float64, up to `TOLERANCE` times the largest output (at least 1); a
    network that cannot compute in float64 is compared in float32, up to `TOLERANCE_FLOAT32`.
    RuntimeError if they differ by more.
    """
    inputs = drawn_inputs(before[0]) if probe is None else probe.inputs()
    try:
        outputs = [_outputs(*one, inputs, torch.float64) for one in (before, after)]
        tolerance = TOLERANCE
    except RuntimeError:
        outputs = [_outputs(*one, inputs, torch.float32) for one in (before, after)]
        tolerance = TOLERANCE_FLOAT32
    pairs = list(zip(*outputs, strict=True))
    difference = max(float((one - other).abs().max()) for one, other in pairs)
    largest = max(1.0, *(float(one.abs().max()) for one, _ in pairs))
    if not difference <= tolerance * largest:
        raise RuntimeError(
            f"a transformation that must leave outputs as they are changed them by {difference:.3g}"
            f" (largest output {largest:.3g}, tolerance {tolerance * largest:.3g})"
        )
    return difference


def drawn_inputs(network: Network) -> Inputs:
    """Return a batch of numbers from N(0, 1), drawn by a seed of its own; whole numbers stay 0."""
    generator = torch.Generator().manual_seed(0)

    def draw(one: Tensor) -> Tensor:
        drawn = torch.randn(one.shape, generator=generator)
        return drawn.to(one.dtype) if one.is_floating_point() else one

    return map_tensors(concatenate([network.example()] * NUM_DRAWN), draw)


def in_float64(state: State) -> State:
    """Return a state whose floating tensors are float64, on the CPU."""
    return {
        name: tensor.cpu().double() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in state.items()
    }


def _outputs(network: Network, state: State, inputs: Inputs, dtype: torch.dtype) -> list[Tensor]:
    model: nn.Module = network.build().to(dtype)
    load_state_(model, state)
    cast = map_tensors(inputs, lambda x: x.cpu().to(dtype) if x.is_floating_point() else x.cpu())
    return [one.double() for one in tensors_of(call(model.eval(), cast))]
