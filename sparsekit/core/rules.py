"""One layer's drop-and-grow: (weight, gradient, mask, fraction, seed) -> mask.

`weight` is zero where `mask` is False; `gradient` is dense, that of the loss with respect to the
masked weights; all three have the shape "out *rest". `fraction` of the active weights is moved
(rounded down); at 0 nothing changes. `seed` serves the rules that draw. Ties go to the lowest
index. A newly active weight has the value 0, because the pruned weights have it; one that is
dropped and grown again in the same turn keeps its value.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from sparsekit.core import chunks, selection
from sparsekit.core.counts import decimal, whole_part

Rule = Callable[[Tensor, Tensor, Tensor, float, int], Tensor]
"""(weight, gradient, mask, fraction, seed) -> mask."""


def set_rule(
    weight: Tensor,
    gradient: Tensor,
    mask: Tensor,
    fraction: float,
    seed: int,
    *,
    regrow: bool = True,
) -> Tensor:
    """Drop the smallest |w|, grow at random: sparse evolutionary training (Mocanu et al. 2018).

    As in RigL's experiments the smallest magnitudes go, of either sign; the original drops the
    fraction among the positive and among the negative weights separately. `gradient` is not read.
    The number of active weights stays exactly what it is. `regrow` as in `rigl_rule`.

    >>> weight, mask = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[True, True, False]])
    >>> set_rule(weight, weight, mask, 0.5, 0, regrow=False).int().tolist()
    [[1, 0, 1]]
    """
    # drawn on the CPU, so that the device does not change what grows
    generator = torch.Generator().manual_seed(seed)
    growth = torch.rand(weight.shape, generator=generator).to(weight.device)
    return _drop_and_grow(weight, growth, mask, fraction, regrow=regrow)


def rigl_rule(
    weight: Tensor,
    gradient: Tensor,
    mask: Tensor,
    fraction: float,
    seed: int,
    *,
    regrow: bool = True,
) -> Tensor:
    """Drop the smallest |w|, grow the largest |gradient|: RigL (Evci et al. 2020, algorithm 1).

    The number of active weights stays exactly what it is. Candidates for growth are all positions
    but those kept: what was dropped a moment ago may be grown again, as in the paper and in its
    code. `regrow=False` forbids that; then no more is moved than there are inactive weights.
    `seed` is not read.

    >>> weight, mask = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[True, True, False]])
    >>> rigl_rule(weight, torch.tensor([[0.0, 1.0, 2.0]]), mask, 0.5, 0).int().tolist()
    [[1, 0, 1]]
    >>> rigl_rule(weight, torch.tensor([[0.0, 2.0, 1.0]]), mask, 0.5, 0).int().tolist()
    [[1, 1, 0]]
    """
    return _drop_and_grow(weight, gradient.abs(), mask, fraction, regrow=regrow)


def srigl_rule(
    weight: Tensor,
    gradient: Tensor,
    mask: Tensor,
    fraction: float,
    seed: int,
    *,
    gamma_sal: float = 0.3,
    min_salient: int = 1,
    ablated: Literal["revive", "permanent"] = "revive",
    normalise: bool = False,
    budget: int | None = None,
) -> Tensor:
    """Move weights at constant fan-in and ablate neurons: SRigL (Lasby et al. 2024, section 3).

    1. Salient are the kept largest |w| and, as many as are dropped, the largest |gradient| of the
       layer. A neuron (row) with fewer salient weights than `gamma_sal` is ablated: its row is
       emptied. Below 1 `gamma_sal` is a fraction of floor(budget / rows), the fan-in before any
       ablation, rounded down and raised to `min_salient`; from 1 on it is a number of weights. 0
       ablates nothing.
    2. The active rows share the layer's budget: the fan-in is floor(budget / active rows). It
       never exceeds the row size: as many rows stay as are needed to hold the budget.
    3. In the active rows the largest |w| are kept, then each row grows by the largest |gradient|
       up to the fan-in. A row that keeps more is cut to its largest |w|.

    `budget` is the number of weights that the layer may hold, B_l of the paper. Without it the
    budget is read from the mask: a whole number k per row, of which ablation leaves less than one
    weight per active row unused, so k = ceil(active weights / rows) and the budget is k * rows.
    The authors' floor(N (1 - sparsity)) need not be a multiple of the rows: with it, what no row
    could take before an ablation is given out after it. It must be the same at every update.

    `ablated` rows may "revive" by gradient, as in the authors' code, or are "permanent".
    BatchNorm scales the gradient of an ablated filter by up to 1 / sqrt(epsilon); `normalise`
    divides |gradient| by its row's mean before rows are compared. Active weights that are exactly
    zero are dropped first and are not salient. `seed` is not read.

    ValueError unless gamma_sal >= 0, min_salient >= 1, rows <= budget <= numel, and all non-empty
    rows of `mask` keep the same number.

    >>> weight = torch.tensor([[0.9, 0.8, 0.0, 0.0], [0.1, 0.2, 0.0, 0.0]])
    >>> gradient = torch.tensor([[0.1, 0.1, 0.4, 0.3], [0.0, 0.0, 0.1, 0.2]])
    >>> srigl_rule(weight, gradient, weight != 0, 0.5, 0, gamma_sal=0).int().tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1]]
    >>> weight = torch.tensor([[0.9, 0.8, 0, 0], [0.7, 0.6, 0, 0], [0.1, 0.2, 0, 0]])
    >>> gradient = torch.tensor([[0.0, 0, 0.4, 0], [0.0, 0, 0, 0.3], [0.0, 0, 0.1, 0.1]])
    >>> srigl_rule(weight, gradient, weight != 0, 0.34, 0, gamma_sal=0.9).int().tolist()
    [[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]
    """
    _require_settings(gamma_sal, min_salient, ablated)
    rows = selection.rows(mask)
    active = chunks.positions(rows)
    per_row = _num_per_row(active, rows.shape)
    budget = _budget(budget, per_row, rows.numel())
    num_moved = _num_moved(len(active), fraction)
    if fraction == 0 or len(active) == 0 or len(active) == budget == rows.numel():
        return mask.clone()
    magnitude = weight.flatten().index_select(0, active).abs()
    num_keep = min(len(active) - num_moved, selection.count(magnitude))
    kept = active[selection.top_indices(magnitude, num_keep)]
    allowed = (per_row > 0) | (ablated == "revive")
    if gamma_sal > 0:
        growth = _growth(selection.rows(gradient), allowed, normalise=normalise)
        grown = selection.top_indices(growth.flatten(), len(active) - num_keep)
        threshold = _threshold(gamma_sal, budget // len(rows), min_salient)
        salient = _num_in_either(kept, grown, rows.shape)
        allowed = _active_rows(salient, allowed, threshold, budget // rows.shape[1])
        surviving = chunks.positions(allowed.index_select(0, active // rows.shape[1]))
        if len(surviving) < len(active):
            active, magnitude = active[surviving], magnitude[surviving]
            num_keep = min(num_keep, selection.count(magnitude))
            kept = active[selection.top_indices(magnitude, num_keep)]
    filled = _refill(kept, selection.rows(weight), selection.rows(gradient), allowed, budget)
    return filled.view(mask.shape)


def reads_gradient(rule: Rule) -> bool:
    """Say whether a rule looks at the gradient: all do but `set_rule`, those of users too.

    >>> reads_gradient(rigl_rule), reads_gradient(functools.partial(set_rule, regrow=False))
    (True, False)
    """
    return (rule.func if isinstance(rule, functools.partial) else rule) is not set_rule


def _require_settings(gamma_sal: float, min_salient: int, ablated: str) -> None:
    if not gamma_sal >= 0:
        raise ValueError(f"gamma_sal must be 0 or more, got {gamma_sal}")
    if min_salient < 1:
        raise ValueError(f"min_salient must be 1 or more, got {min_salient}")
    if ablated not in ("revive", "permanent"):
        raise ValueError(f"ablated={ablated!r} is not one of 'revive', 'permanent'")


def _num_moved(num_active: int, fraction: float) -> int:
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction to move must lie in [0, 1], got {fraction}")
    return whole_part(num_active, fraction)


def _drop_and_grow(
    weight: Tensor, growth: Tensor, mask: Tensor, fraction: float, *, regrow: bool
) -> Tensor:
    """Keep the largest |w| of the active and give as many as go to the largest growth >= 0.

    `growth`, made by the caller for this alone, is overwritten.
    """
    active = chunks.positions(mask)
    num_moved = _num_moved(len(active), fraction)
    if not regrow:
        num_moved = min(num_moved, mask.numel() - len(active))
    if num_moved == 0 or len(active) == mask.numel():
        return mask.clone()
    magnitude = weight.flatten().index_select(0, active).abs()
    kept = active[selection.top_indices(magnitude, len(active) - num_moved)]
    # no candidate is below 0, and there are enough of them
    candidates = growth.flatten().index_fill_(0, kept if regrow else active, -1.0)
    grown = selection.top_indices(candidates, num_moved)
    return _mask_of(torch.cat([kept, grown]), mask.shape)


def _mask_of(positions: Tensor, shape: torch.Size) -> Tensor:
    mask = torch.zeros(math.prod(shape), dtype=torch.bool, device=positions.device)
    return mask.index_fill_(0, positions, True).view(shape)


def _num_per_row(positions: Tensor, shape: torch.Size) -> Tensor:
    """Count ascending flat indices by row: a binary search instead of a pass over the layer."""
    bounds = torch.arange(shape[0] + 1, device=positions.device) * shape[1]
    return torch.searchsorted(positions, bounds).diff()


def _num_in_either(one: Tensor, other: Tensor, shape: torch.Size) -> Tensor:
    """Count by row the flat indices that are in `one`, in `other` or in both."""
    new = other[~_mask_of(one, shape).flatten().index_select(0, other)]
    return _num_per_row(one, shape) + _num_per_row(new, shape)


def _budget(budget: int | None, per_row: Tensor, numel: int) -> int:
    """Return `budget`, or what the mask tells: ceil(active weights / rows) for every row."""
    sizes = sorted(set(per_row[per_row > 0].tolist()))
    if len(sizes) > 1:
        raise ValueError(f"a mask of constant fan-in is needed, but rows keep {sizes[:5]} weights")
    rows = len(per_row)
    if budget is None:
        return -(-int(per_row.sum()) // max(rows, 1)) * rows
    if not rows <= budget <= numel:
        raise ValueError(
            f"budget must lie in [{rows}, {numel}], from one weight per row to all, got {budget}"
        )
    return budget


def _growth(gradient: Tensor, allowed: Tensor, *, normalise: bool) -> Tensor:
    """Return |gradient| as rows are compared by it, below 0 where nothing may grow."""
    growth = gradient.abs()
    if normalise:
        mean = growth.mean(dim=1, keepdim=True)
        growth /= mean.where(mean > 0, 1.0)
    return growth if bool(allowed.all()) else growth.masked_fill(~allowed[:, None], -1.0)


def _threshold(gamma_sal: float, fan_in: int, min_salient: int) -> int:
    if gamma_sal >= 1:
        return math.ceil(gamma_sal)
    return max(min_salient, math.floor(decimal(gamma_sal) * fan_in))


def _active_rows(salient: Tensor, allowed: Tensor, threshold: int, num_full: int) -> Tensor:
    """Return the allowed rows with enough salient weights, more than `num_full` of them at least.

    The budget fills `num_full` rows; that many, and one for the rest, must stay to hold it.
    """
    ranked = salient.masked_fill(~allowed, -1).sort(descending=True).values
    return allowed & (salient >= min(threshold, int(ranked[min(num_full, len(ranked) - 1)])))


def _refill(kept: Tensor, weight: Tensor, gradient: Tensor, allowed: Tensor, budget: int) -> Tensor:
    """Return the mask that fills every allowed row equally, with `kept` and by |gradient|."""
    active = chunks.positions(allowed)
    fan_in = min(budget // len(active), weight.shape[1])
    mask = _cut(kept, weight, fan_in)
    if len(active) == len(allowed):
        return _top_per_row(gradient.abs().masked_fill_(mask, math.inf), fan_in)
    growth = gradient.index_select(0, active).abs()
    growth.masked_fill_(mask.index_select(0, active), math.inf)
    return torch.zeros_like(mask).index_copy_(0, active, _top_per_row(growth, fan_in))


def _cut(kept: Tensor, weight: Tensor, fan_in: int) -> Tensor:
    """Return the mask of `kept`, where rows of more than `fan_in` keep their largest |w|."""
    mask = _mask_of(kept, weight.shape)
    full = chunks.positions(_num_per_row(kept, weight.shape) > fan_in)
    if len(full):
        magnitude = weight[full].abs().masked_fill(~mask[full], 0.0)
        mask = mask.index_copy(0, full, selection.top_per_row(magnitude, fan_in))
    return mask


def _top_per_row(rows: Tensor, k: int) -> Tensor:
    """Apply `selection.top_per_row`, which settles ties slowly, only to the rows that have ties."""
    rows = selection.comparable(rows)
    mask = rows >= chunks.kth_per_row(rows, k)
    if selection.count(mask) > k * len(rows):
        tied = chunks.positions(mask.sum(dim=1) > k)
        mask = mask.index_copy(0, tied, selection.top_per_row(rows[tied], k))
    return mask
