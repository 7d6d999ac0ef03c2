"""The one owner of the masks during a fit."""

from __future__ import annotations

import hashlib
import math
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sparsekit.core.layout import Transposed, rows_first
from sparsekit.core.types import Masks, Mover
from sparsekit.training.last_word import LastWord
from sparsekit.training.mask_history import GradientMean, MaskHistory
from sparsekit.training.masked_parameters import (
    check_equal_on_ranks,
    mask_optimizer_state_,
    named_parameters_of,
    owns,
    transposed_of,
    warn_of_missing,
)
from sparsekit.training.multiplying import multipliers, multiply_
from sparsekit.training.optimizers import mixes_elements

SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class Masking(Callback):
    """Keeps pruned weights at exactly zero, and asks the mover, if any, for new masks.

    Works in any Lightning project: `Trainer(callbacks=[Masking(masks)])`, with `masks` by the
    parameter names of the LightningModule, or by those of its submodule `prefix`. In place, no
    reparametrisation: the state dict keeps its names, and gradients of pruned weights stay dense
    for movers that grow by them.

    Weights are multiplied by their masks as soon as their optimizer has stepped, so that whatever
    runs next, other callbacks and a second optimizer included, sees them pruned; and again where
    other callbacks put weights of their own in place (averages: before validation, at the end of
    the fit, and in checkpoints), wherever they are in the list of callbacks.

    Gradients of pruned weights are masked before the step if it would let them change other
    weights: where the Trainer clips, where the optimizer mixes elements (`mixes_elements`), or
    where `mask_gradients` asks for it because something else reads them. Otherwise the results are
    the same either way, and it would be paid at every step. Movers get them before that, dense.
    Statistics an optimizer shares between weights (Adafactor's rows and columns) remember weights
    that have been pruned since; those of the weights themselves are forgotten.

    Movers count the steps of the optimizer that owns the masked weights, from `first_step`, and
    are told `num_steps`: by default the trainer's estimate, which does not exist for a loader
    without length, for a fit limited by time, or where the module steps its optimizers itself.
    A new fit of the same callback goes on with the masks it has and counts steps afresh.

    Raises ValueError for a mask whose name or shape fits no parameter, for sharded parameters
    (FSDP), for a mover without a number of steps, and for one whose weights belong to several
    optimizers; RuntimeError where ranks disagree on a mask.
    """

    def __init__(
        self,
        masks: Masks,
        *,
        mover: Mover | None = None,
        mask_gradients: bool = False,
        prefix: str = "",
        first_step: int = 0,
        num_steps: int | None = None,
    ) -> None:
        self.masks = {name: mask.bool() for name, mask in masks.items()}
        self.mover = mover
        self.mask_gradients = mask_gradients
        self.prefix = prefix
        self.first_step = first_step
        self.num_steps = num_steps
        self.step = first_step
        self.mask_history = MaskHistory(self.masks)
        self.gradients = GradientMean()
        self._asked_steps = num_steps
        self._restored = False
        self.transposed: Transposed = {}
        self._parameters: dict[str, Parameter] = {}
        self._owners: list[Optimizer] = []
        self._pruned: list[Parameter] = []
        self._by: list[Tensor] = []
        self._masks_gradients = mask_gradients
        self._hooks: list[RemovableHandle] = []
        self._stepping = False
        self._due: int | None = None

    @property
    def state_key(self) -> str:
        """What tells several of these apart in one checkpoint: the weights they mask."""
        names = hashlib.sha256(",".join(self.masks).encode()).hexdigest()[:12]
        return self._generate_state_key(prefix=self.prefix, masks=names)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "masks": {name: mask.cpu() for name, mask in self.masks.items()},
            "topology": self.mask_history.state_dict(),
            "gradients": self.gradients.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.step = state_dict["step"]
        self.masks = dict(state_dict["masks"])
        self.mask_history.load_state_dict(state_dict["topology"])
        self.gradients.load_state_dict(state_dict["gradients"])
        self._restored = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, SHARDED):
            raise ValueError(
                f"masks need whole parameters, and {type(trainer.strategy).__name__} shards them; "
                "use strategy='ddp'"
            )
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(one, LastWord) and one.apply_ == self.apply_ for one in callbacks):
            return
        last = LastWord(self.apply_, self.mask_state_)
        # A new list, because the trainer iterates over the old one. Checkpoints stay last in it.
        saving = [one for one in callbacks if isinstance(one, Checkpoint)]
        others = [one for one in callbacks if not isinstance(one, Checkpoint)]
        trainer.callbacks = [*others, last, *saving]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._parameters = named_parameters_of(pl_module, self.masks, self.prefix)
        self.transposed = transposed_of(pl_module, self.masks, self.prefix)
        self._owners = [one for one in trainer.optimizers if owns(one, self._parameters)]
        if not self._restored:
            self._count_from(trainer, pl_module)
        if self.mover is not None:
            self.num_steps = self._steps_of(trainer, pl_module)
        self._restored, self._stepping, self._due = False, False, None
        self._masks_gradients = (
            self.mask_gradients
            or trainer.gradient_clip_val is not None
            or any(mixes_elements(one) for one in self._owners)
        )
        self._watch(trainer)
        self.install_(trainer, self.masks)
        if self.step == 0 and self._acts(0):
            self._move_(trainer, self._owners[0], step=0)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if optimizer not in self._owners:
            return
        if not pl_module.automatic_optimization:
            self._finish_step(trainer, optimizer)
        self._stepping = True
        if self.mover is not None:
            is_instead = self.mover.timing == "instead"
            step = self.step + (not is_instead)
            self._collect(step)
            if step > 0 and self._acts(step):
                if is_instead:
                    self._move_(trainer, optimizer, step=step)
                    optimizer.zero_grad(set_to_none=True)  # a step without gradients is none
                    return
                self._due = step
        if self._masks_gradients:
            both = zip(self._pruned, self._by, strict=True)
            pairs = [(p.grad, by) for p, by in both if p.grad is not None]
            multiply_([gradient for gradient, _ in pairs], [by for _, by in pairs])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        # A step that a gradient scaler has skipped is seen by no hook of the optimizer.
        for optimizer in self._owners:
            self._finish_step(trainer, optimizer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        left = range(self.step + 1, (self.num_steps or 0) + 1)
        if any(self._acts(step) for step in left):
            warnings.warn(
                f"training ended at step {self.step} of the {self.num_steps} that the masks were "
                "to move along; they have not come to their end",
                stacklevel=2,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def apply_(self) -> None:
        """Set pruned weights to zero."""
        pruned = self._pruned
        if not pruned:
            return
        if pruned[0].device != self._by[0].device:
            # Lightning takes a module off its device after each of its runs.
            self._by = [by.to(p.device) for p, by in zip(pruned, self._by, strict=True)]
        multiply_(pruned, self._by)

    def mask_state_(self, state: dict[str, Any]) -> None:
        """Replace pruned weights in a state dict by zeros."""
        for name, mask in self.masks.items():
            key = self.prefix + name
            if key in state:
                state[key] = state[key] * mask.to(state[key])

    def install_(self, trainer: Trainer, masks: Masks) -> None:
        """Let these be the masks from now on; RuntimeError if ranks have different ones."""
        devices = {name: p.device for name, p in self._parameters.items()}
        self.masks = {name: mask.to(devices[name]) for name, mask in masks.items()}
        # A mask of ones alone is not multiplied by.
        pruned = {p: self.masks[n] for n, p in self._parameters.items() if not self.masks[n].all()}
        self._pruned = list(pruned)
        self._by = multipliers(self._pruned, list(pruned.values()))
        check_equal_on_ranks(trainer, self.masks)
        self.mask_history.note(self.masks)
        self.apply_()

    def _count_from(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin a fit without a state of ours: afresh, or where the trainer is."""
        if trainer.global_step == 0:
            self.step = self.first_step
            self.mask_history, self.gradients = MaskHistory(self.masks), GradientMean()
        elif module.automatic_optimization:
            self.step = self.first_step + trainer.global_step

    def _steps_of(self, trainer: Trainer, module: LightningModule) -> int:
        """Return how many steps the mover is told."""
        if len(self._owners) != 1:
            raise ValueError(
                f"the weights whose masks move belong to {len(self._owners)} optimizers; use one "
                "Masking with its own mover for the weights of each"
            )
        if self._asked_steps is not None:
            return self._asked_steps
        estimate = trainer.estimated_stepping_batches if module.automatic_optimization else -1
        if not 0 < estimate < math.inf:
            raise ValueError(
                "masks move along the length of the training, which the Trainer does not know "
                "(a loader without length, no limit of epochs, or manual optimization); give "
                "Masking(..., num_steps=...), counted in steps of the optimizer of these weights"
            )
        return self.first_step + int(estimate)

    def _watch(self, trainer: Trainer) -> None:
        """Mask weights, and move masks, right after each step of the optimizers."""
        self.teardown(trainer, trainer.lightning_module, "fit")

        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if self.mover is not None and not self._stepping:
                raise RuntimeError(
                    "an optimizer stepped without Lightning's knowledge, so that masks cannot "
                    "move; step what self.optimizers() returns"
                )
            self.apply_()
            self._finish_step(trainer, optimizer)

        self._hooks = [one.register_step_post_hook(after) for one in self._owners]

    def _finish_step(self, trainer: Trainer, optimizer: Optimizer) -> None:
        """Count the step that was begun, if one was, and move the masks that are due after it."""
        if self._stepping:
            self._stepping = False
            self.step += 1
            self.mask_history.count_step()
        if self._due is not None:
            due, self._due = self._due, None
            self._move_(trainer, optimizer, step=due)

    def _acts(self, step: int) -> bool:
        return self.mover is not None and self.mover.acts(step, self.num_steps or 0)

    def _collect(self, step: int) -> None:
        """Add this step's gradients to the mean of an update that is at hand, if one is."""
        assert self.mover is not None
        if any(self._acts(step + ahead) for ahead in range(self.mover.num_gradients)):
            found = {n: p.grad for n, p in self._parameters.items() if p.grad is not None}
            self.gradients.add(found)

    def _move_(self, trainer: Trainer, optimizer: Optimizer, *, step: int) -> None:
        assert self.mover is not None
        weights = {name: p.detach() for name, p in self._parameters.items()}
        before, gradients = self.masks, self.gradients.take()
        if self.mover.num_gradients:
            warn_of_missing(gradients, before)
        mover, steps = rows_first(self.mover, self.transposed), self.num_steps or 0
        moved = mover.move(step, weights, gradients, before, steps)
        if moved is None:
            return
        self.install_(trainer, moved)
        # What grows starts without a past: dense gradients may have left one at its place.
        staying = {name: before[name] & mask for name, mask in self.masks.items()}
        mask_optimizer_state_(optimizer, self._parameters, staying)
