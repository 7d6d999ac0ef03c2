"""One layer's drop-and-grow: (weight, gradient, mask, fraction, seed) -> mask.

`weight` is zero where `mask` is False; `gradient` is dense, that of the loss with respect to the
masked weights; all three have the shape "out *rest". `fraction` of the active weights is moved
(rounded down); at 0 nothing changes. `seed` serves the rules that draw. Ties go to the lowest
index. A newly active weight has the value 0, because the pruned weights have it; one that is
dropped and grown again in the same turn keeps its value.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.counts import decimal

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
) -> Tensor:
    """RigL with constant fan-in and neuron ablation: SRigL (Lasby et al. 2024, section 3).

    1. Salient are the kept largest |w| and, as many as are dropped, the largest |gradient| of the
       layer. A neuron (row) with fewer salient weights than `gamma_sal` is ablated: its row is
       emptied. Below 1 `gamma_sal` is a fraction of the fan-in before any ablation and is raised
       to `min_salient`; from 1 on it is a number of weights. 0 ablates nothing.
    2. The active rows share the layer's budget: the fan-in is floor(budget / active rows). It
       never exceeds the row size: as many rows stay as are needed to hold the budget.
    3. In the active rows the largest |w| are kept, then each row grows by the largest |gradient|
       up to the fan-in. A row that keeps more is cut to its largest |w|.

    The budget needs no state: it is a whole number k per row, and ablation leaves less than one
    weight per active row unused, so k = ceil(active weights / rows).

    `ablated` rows may "revive" by gradient, as in the authors' code, or are "permanent".
    BatchNorm scales the gradient of an ablated filter by up to 1 / sqrt(epsilon); `normalise`
    divides |gradient| by its row's mean before rows are compared. Active weights that are exactly
    zero are dropped first and are not salient. `seed` is not read.

    ValueError unless gamma_sal >= 0, min_salient >= 1, and all non-empty rows of `mask` keep
    the same number.

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
    rows = mask.flatten(1)
    fan_in = _fan_in(rows)
    num_active = selection.count(rows)
    num_moved = _num_moved(num_active, fraction)
    if fraction == 0 or num_active in (0, rows.numel()):
        return mask.clone()
    magnitude = weight.flatten(1).abs().masked_fill(~rows, 0.0)
    growth, budget = gradient.flatten(1).abs(), fan_in * len(rows)
    num_keep = min(num_active - num_moved, selection.count(magnitude))
    allowed = (_num_per_row(rows) > 0) | (ablated == "revive")
    kept = _largest_positive(magnitude, num_keep)
    if gamma_sal > 0:
        comparable = _per_row_scale(growth) if normalise else growth
        comparable = comparable.masked_fill(~allowed[:, None], -1.0)
        salient = _num_per_row(kept | selection.top(comparable, num_active - num_keep))
        threshold = _threshold(gamma_sal, fan_in, min_salient)
        allowed = _active_rows(salient, allowed, threshold, budget // rows.shape[1])
    return _refill(magnitude, growth, kept, allowed, num_keep, budget).view(mask.shape)


def _require_settings(gamma_sal: float, min_salient: int, ablated: str) -> None:
    if not gamma_sal >= 0:
        raise ValueError(f"gamma_sal must be 0 or more, got {gamma_sal}")
    if min_salient < 1:
        raise ValueError(f"min_salient must be 1 or more, got {min_salient}")
    if ablated not in ("revive", "permanent"):
        raise ValueError(f"ablated={ablated!r} is none of 'revive', 'permanent'")


def _num_moved(num_active: int, fraction: float) -> int:
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction to move must lie in [0, 1], got {fraction}")
    return math.floor(decimal(fraction) * num_active)


def _drop_and_grow(
    weight: Tensor, growth: Tensor, mask: Tensor, fraction: float, *, regrow: bool
) -> Tensor:
    """Keep the largest |w| of the active and give as many as go to the largest growth >= 0."""
    num_active = selection.count(mask)
    num_moved = _num_moved(num_active, fraction)
    if not regrow:
        num_moved = min(num_moved, mask.numel() - num_active)
    if num_moved == 0 or num_active == mask.numel():
        return mask.clone()
    active = mask.flatten().nonzero().flatten()
    staying = selection.top(weight.flatten()[active].abs(), num_active - num_moved)
    kept = torch.zeros_like(mask.flatten())
    kept[active[staying]] = True
    barred = kept if regrow else mask.flatten()
    # no candidate is below 0, and there are enough of them
    return (kept | selection.top(growth.flatten().masked_fill(barred, -1.0), num_moved)).view(
        mask.shape
    )


def _fan_in(rows: Tensor) -> int:
    """Return the weights per row before any ablation: ceil(active weights / rows)."""
    per_row = _num_per_row(rows)
    sizes = sorted(set(per_row[per_row > 0].tolist()))
    if len(sizes) > 1:
        raise ValueError(f"a mask of constant fan-in is needed, but rows keep {sizes[:5]} weights")
    return -(-int(per_row.sum()) // max(len(rows), 1))


def _num_per_row(mask: Tensor) -> Tensor:
    # five times as fast as the sum of a bool tensor, which counts in 64 bits
    return mask.view(torch.int8).sum(dim=1, dtype=torch.int32)


def _largest_positive(magnitude: Tensor, num: int) -> Tensor:
    """Return a mask of the `num` largest of the entries above 0."""
    flat = magnitude.flatten()
    positive = (flat > 0).nonzero().flatten()
    kept = torch.zeros_like(flat, dtype=torch.bool)
    kept[positive[selection.top(flat[positive], num)]] = True
    return kept.view(magnitude.shape)


def _per_row_scale(growth: Tensor) -> Tensor:
    mean = growth.mean(dim=1, keepdim=True)
    return growth / mean.where(mean > 0, 1.0)


def _threshold(gamma_sal: float, fan_in: int, min_salient: int) -> int:
    if gamma_sal >= 1:
        return math.ceil(gamma_sal)
    return max(min_salient, math.floor(decimal(gamma_sal) * fan_in))


def _active_rows(salient: Tensor, allowed: Tensor, threshold: int, num_full: int) -> Tensor:
    """Return the allowed rows with enough salient weights, more than `num_full` of them at least.

    The budget fills `num_full` rows; so many, and one for the rest, must stay to hold it.
    """
    ranked = salient.masked_fill(~allowed, -1).sort(descending=True).values
    return allowed & (salient >= min(threshold, int(ranked[min(num_full, len(ranked) - 1)])))


def _refill(
    magnitude: Tensor, growth: Tensor, kept: Tensor, allowed: Tensor, num_keep: int, budget: int
) -> Tensor:
    """Return the mask that keeps the largest |w| of the allowed rows and fills them equally."""
    active = allowed.nonzero().flatten()
    if len(active) < len(allowed):
        magnitude, growth = magnitude[active], growth[active]
        kept = _largest_positive(magnitude, min(num_keep, selection.count(magnitude)))
    fan_in = min(budget // len(active), kept.shape[1])
    full = (_num_per_row(kept) > fan_in).nonzero().flatten()
    if len(full):
        largest = selection.top_per_row(magnitude[full] * kept[full], fan_in)
        kept = kept.index_copy(0, full, largest)
    filled = _top_per_row(growth.masked_fill(kept, math.inf), fan_in)
    return torch.zeros_like(allowed)[:, None].repeat(1, kept.shape[1]).index_copy(0, active, filled)


def _top_per_row(rows: Tensor, k: int) -> Tensor:
    """`selection.top_per_row`, which settles ties slowly, only for the rows that have ties."""
    rows = selection.comparable(rows)
    threshold = rows.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    mask = rows >= threshold
    tied = (_num_per_row(mask) > k).nonzero().flatten()
    if len(tied):
        mask = mask.index_copy(0, tied, selection.top_per_row(rows[tied], k))
    return mask
