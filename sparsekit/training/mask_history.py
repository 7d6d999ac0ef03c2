"""What happens to the masks in the course of a fit, and the gradients that their mover asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsekit.core.prune import num_kept, total_kept
from sparsekit.core.selection import count
from sparsekit.core.training_flops import Change
from sparsekit.core.types import Masks, Weights

Update = tuple[int, int, int, int]
"""Number of steps before it; weights kept after it; weights it dropped; weights it grew."""


class MaskHistory:
    """Counts weights kept over steps, and which weights were ever active.

    `changes`: after how many steps a layer came to keep another number, and what each keeps then.
    `updates`: each time masks became others, after how many steps, how many weights all of them
    keep since, and how many were dropped and grown. `first`, `masks`: at the beginning, and now.

    The fraction ever active is the ITOP rate (Liu et al. 2021, "Do we actually need dense
    over-parameterization?"). It is given over all masks and over those that did not begin dense,
    because a dense layer counts as fully explored.
    """

    def __init__(self, masks: Masks) -> None:
        self.explored: Masks = dict(masks)
        self.began_sparse = [name for name, mask in masks.items() if not bool(mask.all())]
        self.kept_in_steps = 0
        self.num_steps = 0
        kept = num_kept(masks)
        self.num_kept = sum(kept.values())
        self.changes: list[Change] = [(0, kept)]
        self.updates: list[Update] = []
        self.first: Masks = masks
        self.masks: Masks = masks
        self._resumed = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "explored": {name: mask.cpu() for name, mask in self.explored.items()},
            "began_sparse": list(self.began_sparse),
            "kept_in_steps": self.kept_in_steps,
            "num_steps": self.num_steps,
            "changes": list(self.changes),
            "updates": list(self.updates),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.explored = dict(state["explored"])
        self.began_sparse = list(state["began_sparse"])
        self.kept_in_steps = state["kept_in_steps"]
        self.num_steps = state["num_steps"]
        # What a checkpoint of an earlier release does not tell is not made up.
        self.changes = list(state.get("changes", ()))
        self.updates = list(state.get("updates", ()))
        self._resumed = True  # what is noted next are the masks of the checkpoint

    def note(self, masks: Masks) -> None:
        """Take these as the masks from now on."""
        self.explored = {n: _either(self.explored[n], mask) for n, mask in masks.items()}
        kept = num_kept(masks)
        self._note_update(masks, sum(kept.values()))
        self.num_kept = sum(kept.values())
        if self.changes and self.changes[-1][0] == self.num_steps:
            self.changes.pop()
        if not self.changes or self.changes[-1][1] != kept:
            self.changes.append((self.num_steps, kept))

    def _note_update(self, masks: Masks, kept: int) -> None:
        last, self.masks = self.masks, masks
        if self._resumed:
            self._resumed = False
            return
        differing = sum(count(last[n].to(mask.device) ^ mask) for n, mask in masks.items())
        if differing:
            dropped = (differing + self.num_kept - kept) // 2
            self.updates.append((self.num_steps, kept, dropped, differing - dropped))

    def count_step(self) -> None:
        """Count one optimizer step with the present masks."""
        self.kept_in_steps += self.num_kept
        self.num_steps += 1

    def summary(self) -> dict[str, Any]:
        """Return the mean number of weights kept over the steps, and ITOP rates.

        The rates are over all masks and over those that began sparse (None if there are none).
        """
        sparse = {name: self.explored[name] for name in self.began_sparse}
        steps = max(self.num_steps, 1)
        return {
            "average_num_kept": self.kept_in_steps / steps if self.num_steps else self.num_kept,
            "itop": _rate(self.explored),
            "itop_sparse": _rate(sparse) if sparse else None,
        }


class GradientMean:
    """The mean of the gradients of some steps, summed in place as they come.

    A layer without a gradient in some of the steps (it did not run, so the loss did not depend on
    it) counts as zero there; one without in all of them has no mean.
    """

    def __init__(self) -> None:
        self.sums: Weights = {}
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {n: total.cpu() for n, total in self.sums.items()}, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums = dict(state["sums"])
        self.count = state["count"]

    def add(self, gradients: Weights) -> None:
        """Add the gradients of one step; they are copied."""
        known = [name for name in gradients if name in self.sums]
        sums = [self.sums[name].to(gradients[name].device) for name in known]
        if known:
            torch._foreach_add_(sums, [gradients[name].detach() for name in known])
        new = {name: g.detach().clone() for name, g in gradients.items() if name not in self.sums}
        self.sums = {**self.sums, **dict(zip(known, sums, strict=True)), **new}
        self.count += 1

    def take(self) -> Weights:
        """Return the mean, empty if nothing was added, and start afresh."""
        mean = self.sums
        if self.count > 1 and mean:
            torch._foreach_div_(list(mean.values()), self.count)
        self.sums, self.count = {}, 0
        return mean


def _either(explored: Tensor, mask: Tensor) -> Tensor:
    """Return what either keeps: `mask` itself, held once, if that is the same."""
    known = explored.to(mask.device)
    return mask if torch.equal(known, mask) else known | mask


def _rate(masks: Masks) -> float:
    return total_kept(masks) / max(1, sum(mask.numel() for mask in masks.values()))
