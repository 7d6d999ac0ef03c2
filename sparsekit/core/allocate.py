"""How many weights each layer keeps: (scores, total) -> counts that sum to exactly `total`.

Densities follow from the full shapes; but a layer never gets more than the number of its scores
above -inf, so pruning in several turns revives nothing. What a layer cannot hold goes to the
others in proportion. ValueError, naming the largest feasible number, if fewer are left.

All but `globally` decide by shapes and give every layer at least one weight: a small layer whose
part of the budget rounds to 0 would cut the network in two, and no scheme asks for that. ValueError
where the budget has not one weight for each. `globally` ranks weights whatever layer they are in,
so it may empty layers (layer collapse, Tanaka et al. 2020); that is reported, not prevented.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import partial

from torch import Tensor

from sparsekit.core import chunks, densities, selection
from sparsekit.core.counts import apportion, decimal
from sparsekit.core.densities import (
    erdos_renyi_densities,
    erk_densities,
    erk_plus_densities,
    uniform_plus_densities,
)
from sparsekit.core.steps import alive_per_row, floors, in_steps, require_each
from sparsekit.core.types import Allocate, Counts, Scores

__all__ = [
    "erdos_renyi",
    "erdos_renyi_densities",
    "erk",
    "erk_densities",
    "erk_plus",
    "erk_plus_densities",
    "filling_rows",
    "from_ratios",
    "globally",
    "in_whole_channels",
    "in_whole_rows",
    "uniform",
    "uniform_plus",
    "uniform_plus_densities",
]


def globally(scores: Scores, total: int) -> Counts:
    """Give every layer what it has among the `total` highest scores of the whole network.

    Ties go to the earlier layer, within it to the lower index (which `patterns.unstructured`
    settles the same way, so the two together select one set).

    >>> import torch
    >>> globally({"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([3.0, 1.0])}, 3)
    {'a': 2, 'b': 1}
    """
    _capacity(scores, total)
    if total == 0:
        return dict.fromkeys(scores, 0)
    pieces = _pieces(scores)
    threshold = selection.kth_largest(list(pieces.values()), total)
    counts = {name: chunks.num_above(piece, threshold) for name, piece in pieces.items()}
    missing = total - sum(counts.values())
    for name, piece in pieces.items():
        if missing == 0:
            break
        tied = min(missing, chunks.num_equal(piece, threshold))
        counts[name] += tied
        missing -= tied
    return counts


def _pieces(scores: Scores) -> dict[str, Tensor]:
    """Return the scores as 1-D tensors of one dtype, so that they compare exactly."""
    flat = {name: selection.comparable(score).flatten() for name, score in scores.items()}
    same = len({piece.dtype for piece in flat.values()}) == 1
    return flat if same else {name: piece.double() for name, piece in flat.items()}


def uniform(scores: Scores, total: int) -> Counts:
    """Give every layer the same density.

    >>> import torch
    >>> uniform({"a": torch.ones(2, 5), "b": torch.ones(4, 5)}, 6)
    {'a': 2, 'b': 4}
    """
    sizes = {name: score.numel() for name, score in scores.items()}
    return _one_each(sizes, scores, total)


def uniform_plus(scores: Scores, total: int, *, last_density: float = 0.2) -> Counts:
    """Give every layer the same density, but all to the first convolution and 0.2 to the last.

    See `uniform_plus_densities`. ValueError naming the smallest feasible number of weights (the
    largest sparsity) if the first and the last layer alone need more than `total`.

    >>> import torch
    >>> shapes = {"a": (2, 1, 2, 2), "b": (4, 8), "c": (2, 5)}
    >>> uniform_plus({name: torch.ones(shape) for name, shape in shapes.items()}, 14)
    {'a': 8, 'b': 4, 'c': 2}
    """
    rule = partial(densities.uniform_plus_quotas, last_density=last_density)
    return _by_quotas(scores, total, rule)


def erdos_renyi(scores: Scores, total: int) -> Counts:
    """Give layers densities proportional to (in + out) / (in * out).

    See `erdos_renyi_densities`.

    >>> import torch
    >>> erdos_renyi({"a": torch.ones(4, 4), "b": torch.ones(8, 8)}, 24)
    {'a': 8, 'b': 16}
    """
    return _by_quotas(scores, total, densities.erdos_renyi_quotas)


def erk(scores: Scores, total: int) -> Counts:
    """Give layers densities proportional to sum(shape) / prod(shape). See `erk_densities`.

    >>> import torch
    >>> erk({"a": torch.ones(4, 2, 3, 3), "b": torch.ones(4, 12)}, 42)
    {'a': 18, 'b': 24}
    """
    return _by_quotas(scores, total, densities.erk_quotas)


def erk_plus(scores: Scores, total: int, *, last_density: float = 1.0) -> Counts:
    """Give the last layer `last_density` and the others ERK of the rest. See `erk_plus_densities`.

    >>> import torch
    >>> erk_plus({"a": torch.ones(8, 8), "b": torch.ones(2, 8)}, 40)
    {'a': 24, 'b': 16}
    """
    rule = partial(densities.erk_plus_quotas, last_density=last_density)
    return _by_quotas(scores, total, rule)


def from_ratios(scores: Scores, total: int, *, ratios: Mapping[str, float | Fraction]) -> Counts:
    """Give every layer a density proportional to its entry in `ratios`.

    Only the proportions matter: the ratios are scaled until the counts sum to `total`. A layer with
    ratio 0 is emptied, because that was asked for. ValueError unless `ratios` names exactly the
    layers of `scores`.

    >>> import torch
    >>> from_ratios({"a": torch.ones(10), "b": torch.ones(10)}, 6, ratios={"a": 0.2, "b": 0.1})
    {'a': 4, 'b': 2}
    """
    if set(ratios) != set(scores):
        raise ValueError(f"ratios for {sorted(ratios)}, but the layers are {sorted(scores)}")
    shares = {name: _exact(ratios[name]) * score.numel() for name, score in scores.items()}
    return _one_each(shares, scores, total)


def _exact(ratio: float | Fraction) -> Fraction:
    return ratio if isinstance(ratio, Fraction) else decimal(ratio)


def in_whole_rows(scores: Scores, total: int, *, allocate: Allocate, spread: bool = True) -> Counts:
    """Round the counts of `allocate` to multiples of the active rows, for constant fan-in.

    A row whose scores are all -inf is inactive; no row is given more than the least any active row
    of its layer can hold, and none less than one weight: what thin layers need for that comes from
    the others in proportion. Each layer is rounded down, then what is left is handed out one weight
    per row at a time to the layer furthest below its target, while a layer fits. The sum may
    therefore be below `total`, by less than the number of rows of any layer not yet full.
    ValueError, naming the layers and the smallest feasible number, if `total` is less than all
    active rows.

    `spread=False` hands nothing out, as the code of SRigL does (Lasby et al. 2024): each layer
    keeps floor(count / rows) per row and the rest is lost: of ResNet-50 with ERK 0.02 to 0.06 % of
    all weights. ValueError, as there, if a layer would keep none.

    >>> import torch
    >>> in_whole_rows({"a": torch.ones(2, 4), "b": torch.ones(3, 4)}, 10, allocate=uniform)
    {'a': 4, 'b': 6}
    >>> scores = {"a": torch.ones(4, 3), "b": torch.ones(3, 4)}
    >>> in_whole_rows(scores, 14, allocate=uniform)
    {'a': 8, 'b': 6}
    >>> in_whole_rows(scores, 14, allocate=uniform, spread=False)
    {'a': 4, 'b': 6}
    """
    num_rows, fan_in = {}, {}
    for name, score in scores.items():
        alive = alive_per_row(score)
        active = alive[alive > 0]
        num_rows[name] = active.numel()
        fan_in[name] = int(active.min()) if num_rows[name] else 0
    require_each(num_rows, total, unit="weight in every row")
    counts = allocate(scores, total)
    if spread:
        return in_steps(counts, total, steps=num_rows, limits=fan_in)
    for name, num in counts.items():
        if num < num_rows[name]:
            raise ValueError(
                f"{name!r} gets {num} weights for {num_rows[name]} rows, so each would keep none; "
                f"the smallest feasible number is {num_rows[name]}"
            )
    per_row = floors(counts, steps=num_rows, limits=fan_in)
    return {name: per_row[name] * num_rows[name] for name in counts}


def in_whole_channels(scores: Scores, total: int, *, allocate: Allocate) -> Counts:
    """Round the counts of `allocate` to whole output rows, for `patterns.channels`.

    Only rows without a pruned entry can be kept. Rounded as in `in_whole_rows`, with the size of a
    row as the step, so that every layer keeps a row; the sum may be below `total`.

    >>> import torch
    >>> in_whole_channels({"a": torch.ones(4, 3), "b": torch.ones(5, 2)}, 11, allocate=uniform)
    {'a': 6, 'b': 4}
    """
    rows = {name: selection.rows(score) for name, score in scores.items()}
    whole = {name: selection.count((row > -math.inf).all(dim=1)) for name, row in rows.items()}
    sizes = {name: row.shape[1] if whole[name] else 0 for name, row in rows.items()}
    require_each(sizes, total, unit="whole row")
    return in_steps(allocate(scores, total), total, steps=sizes, limits=whole)


def filling_rows(scores: Scores, total: int, *, allocate: Allocate) -> Counts:
    """Raise the counts of `allocate` until every active row can have a weight.

    For `patterns.balanced`, which leaves no row empty. What thin layers need comes from the others
    in proportion, and the sum stays `total`. ValueError, naming the layers and the smallest
    feasible number, if `total` is less than all active rows.

    >>> import torch
    >>> scores = {"a": torch.ones(4, 2), "b": torch.ones(4, 14)}
    >>> uniform(scores, 16), filling_rows(scores, 16, allocate=uniform)
    ({'a': 2, 'b': 14}, {'a': 4, 'b': 12})
    """
    num_rows = {n: selection.count(alive_per_row(score)) for n, score in scores.items()}
    require_each(num_rows, total, unit="weight in every row")
    counts = allocate(scores, total)
    if all(num >= num_rows[name] for name, num in counts.items()):
        return counts
    return apportion(counts, total, capacity=_capacity(scores, total), least=num_rows)


def _capacity(scores: Scores, total: int) -> Counts:
    """Return the number of weights left in each layer; raise if `total` exceeds their sum."""
    capacity = {name: selection.alive(score) for name, score in scores.items()}
    feasible = sum(capacity.values())
    if not 0 <= total <= feasible:
        raise ValueError(f"cannot keep {total} weights; the largest feasible number is {feasible}")
    return capacity


def _one_each(shares: Mapping[str, int | float | Fraction], scores: Scores, total: int) -> Counts:
    """Apportion `total` by `shares`, at least one weight to every layer that has a share."""
    capacity = _capacity(scores, total)
    least = {name: min(1, capacity[name]) if share > 0 else 0 for name, share in shares.items()}
    require_each(least, total, unit="weight")
    return apportion(shares, total, capacity=capacity, least=least)


def _by_quotas(scores: Scores, total: int, rule: densities.QuotaRule) -> Counts:
    """Apportion `total` by quotas that follow from the shapes."""
    capacity = _capacity(scores, total)
    require_each({name: min(1, num) for name, num in capacity.items()}, total, unit="weight")
    shapes = {name: tuple(score.shape) for name, score in scores.items()}
    return _one_each(rule(shapes, Fraction(total), 1), scores, total)
