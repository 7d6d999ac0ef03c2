"""What a fit cost in floating-point operations: of its steps, and of a dense training."""

from __future__ import annotations

import dataclasses
import functools
import json

from torch import nn

from sparsekit.core.movers import grown_by_gradient
from sparsekit.core.prune import num_kept
from sparsekit.core.training_flops import (
    Change,
    Shares,
    flops_per_example,
    shares_of_frozen,
    shares_of_masks,
)
from sparsekit.core.types import Masks, Mover
from sparsekit.models.flops import Flops, flops
from sparsekit.networks.network import Network, network_of
from sparsekit.training.norm_statistics import tracked_norms
from sparsekit.training.observing import RunningFit
from sparsekit.training.settings import steps_of_epochs


def cost_of_training(
    fit: RunningFit, network: Network, published: Masks, *, recalibrated: bool
) -> dict[str, float]:
    """Return the operations of the steps of a fit that publishes these masks.

    `training_flops` of its method, under the masks of each step, and of re-estimated statistics if
    the weights at the end are averages, `recalibrated`; `training_flops_dense` of the same
    steps with all weights; `training_flops_full` of one dense training of the whole schedule, of
    the network before transformations. Empty where a checkpoint of an earlier release does not know
    what was kept when. For the definitions see docs/counting.md.
    """
    train, schedule = fit.module.train_settings, fit.module.fit_schedule
    changes = fit.masking.mask_history.changes
    if not changes or changes[0][0] != 0:
        return {}
    num_steps = schedule.last - schedule.first
    work = flops_of(network)
    shares = _shares(fit, published, num_steps)
    original = flops_of(dataclasses.replace(network, transforms=(), original=None))
    full = steps_of_epochs(train.epochs, schedule.steps_per_epoch)
    extra = 0.0
    if recalibrated:
        with fit.module.projected():
            num_train = fit.module.data.num_train
            extra = flops_of_recalibration(fit.module.model, network, num_train)
    costs = {
        name: num * train.batch_size * per_example
        for name, num, per_example in (
            ("training_flops", num_steps, flops_per_example(work.per_weight, work.other, shares)),
            ("training_flops_dense", num_steps, 3 * work.total({})),
            ("training_flops_full", full, 3 * original.total({})),
        )
    }
    return costs | {"training_flops": costs["training_flops"] + extra}


def flops_of(network: Network) -> Flops:
    """Return the operations of a network, which is built and traced once per process."""
    return _flops_of(json.dumps(network.record(), sort_keys=True))


def flops_of_recalibration(model: nn.Module, network: Network, num_examples: int) -> float:
    """Return the operations of estimating the statistics of `model`, built as `network`, anew: a
    forward pass, which its zeros are spared; 0 for a network without such statistics."""
    if not tracked_norms(model):
        return 0.0
    kept = {n: int(p.count_nonzero()) / max(1, p.numel()) for n, p in model.named_parameters()}
    return num_examples * flops_of(network).total(kept)


@functools.lru_cache(maxsize=16)
def _flops_of(record: str) -> Flops:
    network = network_of(json.loads(record))
    return flops(network.build(), network.example())


def _shares(fit: RunningFit, published: Masks, num_steps: int) -> dict[str, Shares]:
    masking, module = fit.masking, fit.module
    sizes = {name: mask.numel() for name, mask in masking.masks.items()}
    mover = masking.mover
    shares = shares_of_masks(
        _by_pass(masking.mask_history.changes, mover),
        sizes,
        num_passes=num_steps,
        dense_passes=[] if mover is None else _dense_passes(mover, num_steps),
        dense_layers=[] if mover is None else grown_by_gradient(mover, list(sizes)),
    )
    if module.viewed is not None:
        seen = num_kept(published)
        shares = {
            name: dataclasses.replace(share, forward=seen[name] / sizes[name])
            for name, share in shares.items()
        }
    parameters = dict(module.model.named_parameters())
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    if len(trained) == len(parameters):
        return shares
    return shares_of_frozen(shares, list(parameters), trained)


def _by_pass(changes: list[Change], mover: Mover | None) -> list[Change]:
    """Return changes by the pass that they are first seen in.

    Masks that move "instead" of a step have seen the pass of that step.
    """
    late = mover is not None and mover.timing == "instead"
    return [(begin + (late and begin > 0), kept) for begin, kept in changes]


def _dense_passes(mover: Mover, num_steps: int) -> list[int]:
    """Return the passes, from 0, whose gradients a mover is given."""
    ahead = range(mover.timing == "after", mover.num_gradients + (mover.timing == "after"))
    return [
        step
        for step in range(num_steps)
        if any(mover.acts(step + more, num_steps) for more in ahead)
    ]
