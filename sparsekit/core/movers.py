"""How masks move while training: (step, weights, grads, masks) -> masks, or None to leave them.

Whoever trains binds `num_steps`, the length of training, to every mover; a configuration does not.
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

from sparsekit.core import schedules
from sparsekit.core.counts import budget
from sparsekit.core.counts import num_steps as steps_in
from sparsekit.core.prune import num_kept, prune
from sparsekit.core.rules import Rule
from sparsekit.core.seeds import derive
from sparsekit.core.types import Allocate, Masks, Pattern, Score, Weights

_DECAYS: Mapping[str, Callable[..., float]] = {
    "constant": schedules.constant,
    "cosine": schedules.cosine,
    "harmonic": schedules.harmonic,
    "linear": schedules.linear,
}


def fixed(
    step: int, weights: Weights, grads: Weights, masks: Masks, *, num_steps: int | None = None
) -> None:
    """Leave the masks as they are.

    >>> fixed(0, {}, {}, {})
    """


def gradual(
    step: int,
    weights: Weights,
    grads: Weights,
    masks: Masks,
    *,
    schedule: Callable[[int], float],
    score: Score,
    allocate: Allocate,
    pattern: Pattern,
    update: Callable[[int], bool],
    num_steps: int | None = None,
) -> Masks | None:
    """Prune to the sparsity `schedule(step)` at the steps where `update(step)` holds.

    Gradual magnitude pruning (Zhu & Gupta 2017) with the cubic schedule. Sparsity is over all the
    weights that have a mask. Pruned weights stay pruned: where the masks are already sparser than
    the schedule asks, they keep what they have. The score gets no probe. `schedule` and
    `update` count in steps, so `num_steps` is not read.

    >>> import torch
    >>> from sparsekit.core import allocate, patterns, scores
    >>> masks = gradual(5, {"a": torch.tensor([1.0, 3.0])}, {}, {"a": torch.tensor([True, True])},
    ...     schedule=lambda step: step / 10, score=scores.magnitude, allocate=allocate.globally,
    ...     pattern=patterns.unstructured, update=lambda step: step % 5 == 0)
    >>> masks
    {'a': tensor([False,  True])}
    """
    if not update(step):
        return None
    total = sum(mask.numel() for mask in masks.values())
    alive = sum(num_kept(masks).values())
    return prune(
        weights,
        masks,
        None,
        num_kept=min(budget(total, schedule(step)), alive),
        score=score,
        allocate=allocate,
        pattern=pattern,
    )


def rewire(
    step: int,
    weights: Weights,
    grads: Weights,
    masks: Masks,
    *,
    rule: Rule,
    last: Rule | None = None,
    exceptions: Mapping[str, Rule] | None = None,
    fraction: float = 0.3,
    decay: Literal["constant", "cosine", "harmonic", "linear"] = "cosine",
    interval: int = 100,
    until: float = 0.75,
    seed: int = 0,
    num_steps: int | None = None,
) -> Masks | None:
    """Drop and grow weights layer by layer: dynamic sparse training (SET, RigL, SRigL).

    At steps interval, 2 * interval, ... below T = floor(until * num_steps), `rule` moves
    f(step) of the active weights of every layer. f goes from `fraction` to 0 at T: with the cosine
    f(step) = fraction / 2 * (1 + cos(pi * step / T)) (Evci et al. 2020, section 3); "constant"
    stays until T. The end is exclusive, as f(T) = 0.

    `exceptions` maps names of parameters, or patterns of them such as "*.qkv.weight", to the rule
    of those layers; the first that matches counts. `last` is the rule of the last layer in the
    order of the network, for the classifier that SRigL does not ablate. Draws are a function of
    (seed, step, layer name). Gradients are the dense ones of this step; where one is not finite,
    as when a loss scale was too large and the optimizer skips the step, the masks are left.

    ValueError unless 0 <= fraction <= 1, 0 <= until <= 1, interval >= 1 and `num_steps` is given;
    if a layer has no gradient; and for an exception that matches no layer.

    >>> import torch
    >>> from sparsekit.core import rules
    >>> weights, grads = {"a": torch.tensor([[3.0, 1, 0]])}, {"a": torch.tensor([[0.0, 1, 2]])}
    >>> masks = {"a": torch.tensor([[True, True, False]])}
    >>> for step in (1, 2):
    ...     print(rewire(step, weights, grads, masks, rule=rules.rigl_rule, fraction=0.6,
    ...                  interval=2, until=0.8, num_steps=10))
    None
    {'a': tensor([[ True, False,  True]])}
    """
    end = _last_step(interval, until, num_steps)
    moved = _fraction(step, fraction, decay, end)
    if not 0 < step < end or step % interval or moved == 0:
        return None
    _require_gradients(grads, masks)
    if not all(bool(grads[name].isfinite().all()) for name in masks):
        return None
    rules = _rules(list(masks), rule, last, exceptions or {})
    return {
        name: rules[name](weights[name], grads[name], mask, moved, derive(seed, step, name))
        for name, mask in masks.items()
    }


def _last_step(interval: int, until: float, num_steps: int | None) -> int:
    if num_steps is None:
        raise ValueError("num_steps=None: bind the number of training steps to the mover")
    if interval < 1:
        raise ValueError(f"interval must be 1 or more, got {interval}")
    if not 0 <= until <= 1:
        raise ValueError(f"until must lie in [0, 1], got {until}")
    return steps_in(num_steps, until)


def _fraction(step: int, fraction: float, decay: str, end: int) -> float:
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie in [0, 1], got {fraction}")
    if decay not in _DECAYS:
        raise ValueError(f"decay={decay!r} is none of {', '.join(map(repr, _DECAYS))}")
    return _DECAYS[decay](step, start=fraction, stop=0.0, steps=end)


def _require_gradients(grads: Weights, masks: Masks) -> None:
    missing = [name for name in masks if name not in grads]
    if missing:
        raise ValueError(f"no gradients for {missing}; there are those of {sorted(grads)}")


def _rules(
    names: list[str], rule: Rule, last: Rule | None, exceptions: Mapping[str, Rule]
) -> dict[str, Rule]:
    """Return the rule of every layer."""
    unused = [p for p in exceptions if not any(fnmatchcase(name, p) for name in names)]
    if unused:
        raise ValueError(f"exceptions {unused} match none of the layers {names}")
    chosen = dict.fromkeys(names, rule)
    if last is not None and names:
        chosen[names[-1]] = last
    for wildcard in reversed(list(exceptions)):
        chosen |= {n: exceptions[wildcard] for n in names if fnmatchcase(n, wildcard)}
    return chosen
