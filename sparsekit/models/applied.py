"""Whether masks reach what a network multiplies with, and what they do not reach."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsekit.models.examples import Example, unchanged
from sparsekit.models.trace import NOTHING, Factor, trace


def check_masks_apply(model: nn.Module, masks: Mapping[str, Tensor], example: Example) -> None:
    """Raise ValueError for masks whose zeros are not zeros in what the network computes with.

    A network may change its weights in its forward pass. Weight standardisation subtracts their
    mean, so that pruned weights act again; weight norm divides by the length of a row, which is 0
    where all of it is pruned. Here pruned entries are set to 0 (every second entry of a mask that
    prunes nothing), and one whole row and column as well, because it is not known before training
    which of them masks will empty. Then the example is run, and each tensor that a multiplication
    receives and that was computed from a masked weight must have at least as many zeros, and
    only finite numbers. The model is left as it was.
    """
    parameters = dict(model.named_parameters())
    pruned = {name: _pruned(mask).to(parameters[name].device) for name, mask in masks.items()}
    with unchanged(model), torch.no_grad():
        for parameter in parameters.values():
            parameter.copy_(_without_zeros(parameter))
        for name, entries in pruned.items():
            parameters[name].masked_fill_(entries, 0)
        counts = {name: int(entries.sum()) for name, entries in pruned.items()}
        sizes = {name: entries.numel() for name, entries in pruned.items()}
        factors = trace(model, example, with_factors=True).factors
    broken = NOTHING.union(*(factor.sources for factor in factors if not factor.is_finite))
    _refuse(masks, broken, "makes it NaN or infinite where a whole row is pruned")
    _refuse(masks, _revived(factors, counts, sizes), "has no effect")


def _refuse(masks: Mapping[str, Tensor], found: frozenset[str], fault: str) -> None:
    """Raise ValueError if any mask is among `found`, with the fault and the way out."""
    names = [name for name in masks if name in found]
    if not names:
        return
    if len(names) < len(masks):
        way_out = f"leave these weights out: prunable.exclude=[{','.join(names)}]"
    else:
        way_out = (
            "without them nothing is prunable: build the network without this computation, or name "
            "other parameters: prunable.include=[...]"
        )
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    raise ValueError(
        f"pruning {names[0]}{more} {fault}, because the network computes what it multiplies with "
        f"from these weights, as weight norm and weight standardisation do; {way_out}"
    )


@dataclass(frozen=True)
class Coverage:
    """How much of a network masks can reach, by names; and of how much too little is known.

    multiplied: parameters that the example's forward pass multiplies with, and that are not
        prunable: raw matrices, layers left out, frozen ones -> number of entries.
    idle: prunable weights that the example did not use: pruning them changes nothing for it.
    unknown: parameters in operations that are not counted -> the operation.
    """

    num_parameters: int
    num_prunable: int
    multiplied: Mapping[str, int]
    idle: tuple[str, ...]
    unknown: Mapping[str, str]

    def lines(self) -> list[str]:
        """Return what a user should know of it; nothing if masks reach all there is to prune."""
        lines = []
        if self.multiplied:
            share = sum(self.multiplied.values()) / self.num_parameters
            lines.append(f"multiplied with, but not prunable ({share:.1%} of all parameters):")
            lines += [f"  {name}  {size:,}" for name, size in self.multiplied.items()]
        return [*lines, *self.warnings()]

    def warnings(self) -> list[str]:
        """Return why sparsity and FLOPs say less of this network than of others, if they do."""
        lines = []
        if self.idle:
            lines.append(
                "counted as prunable, but an example does not use them: " + ", ".join(self.idle)
            )
        if self.unknown:
            uses = [f"{name} ({operation})" for name, operation in self.unknown.items()]
            lines.append(
                "in operations that FLOPs leave out, or count as dense: " + ", ".join(uses)
            )
        return lines


def coverage(model: nn.Module, names: Iterable[str], example: Example) -> Coverage:
    """Return how much of `model` the prunable `names` cover, in the forward pass of an example."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    chosen = set(names)
    seen = trace(model, example)
    return Coverage(
        num_parameters=sum(sizes.values()),
        num_prunable=sum(sizes[name] for name in chosen),
        multiplied={n: s for n, s in sizes.items() if n in seen.per_weight and n not in chosen},
        idle=tuple(name for name in sizes if name in chosen - seen.used),
        unknown=dict(seen.unknown),
    )


def _pruned(mask: Tensor) -> Tensor:
    """Return the entries to set to zero, never all of a weight of which the mask keeps some."""
    entries = ~mask
    if not bool(entries.any()):
        entries = (torch.arange(mask.numel(), device=mask.device) % 2 == 1).reshape(mask.shape)
    emptied = entries.clone()
    for dim in range(min(2, mask.dim())):
        if mask.shape[dim] > 1:
            emptied.select(dim, 0).fill_(True)
    return entries if bool(emptied.all()) else emptied


def _without_zeros(weight: Tensor) -> Tensor:
    # Weights and gains may start at zero, and zeros computed from those would prove nothing.
    ramp = torch.linspace(0.5, 1.5, weight.numel(), device=weight.device).to(weight.dtype)
    return torch.where(weight == 0, ramp.reshape(weight.shape), weight)


def _revived(
    factors: Iterable[Factor], counts: Mapping[str, int], sizes: Mapping[str, int]
) -> frozenset[str]:
    """Return the masked weights from which something with too few zeros was computed."""
    found: set[str] = set()
    for factor in factors:
        masked = factor.sources & counts.keys()
        joined = factor.num_elements >= sum(sizes[name] for name in masked)
        wanted = (sum if joined else max)([counts[name] for name in masked] or [0])
        if factor.num_zeros < wanted:
            found |= masked
    return frozenset(found)
