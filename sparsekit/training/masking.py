"""The one owner of the masks during a fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from sparsekit.core.types import Masks, Mover
from sparsekit.training.mask_history import GradientMean, MaskHistory


class Masking(Callback):
    """Keeps pruned weights at exactly zero, and asks the mover, if any, for new masks.

    Works in any Lightning project: `Trainer(callbacks=[Masking(masks)])`, with `masks` by the
    parameter names of the LightningModule, or by those of its submodule `prefix`. In place, no
    reparametrisation: the state dict keeps its names, and gradients of pruned weights stay dense
    for movers that grow by them.

    After each step weights are multiplied by their masks. Gradients are masked before it only if
    something reads their norm (`mask_gradients`, for clipping); otherwise the results are the
    same either way, and it would be paid at every step. Movers count steps from `first_step` and
    are told `num_steps`, by default the trainer's estimate.

    Raises ValueError for a mask whose name or shape fits no parameter, and RuntimeError where
    ranks disagree on a mask.
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
        self.mask_history = MaskHistory(self.masks)
        self.gradients = GradientMean()
        self._parameters: dict[str, Parameter] = {}
        self._floats: list[Tensor] = []
        self._stepped = False
        self._due: int | None = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "masks": {name: mask.cpu() for name, mask in self.masks.items()},
            "topology": self.mask_history.state_dict(),
            "gradients": self.gradients.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.masks = dict(state_dict["masks"])
        self.mask_history.load_state_dict(state_dict["topology"])
        self.gradients.load_state_dict(state_dict["gradients"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._parameters = named_parameters_of(pl_module, self.masks, self.prefix)
        if self.mover is not None and self.num_steps is None:
            self.num_steps = self.first_step + int(trainer.estimated_stepping_batches)
        self._install_(trainer, self.masks)
        if self._steps_done(trainer) == 0 and self._acts(0):
            self._move_(trainer, trainer.optimizers[0], step=0)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._stepped = True
        if self.mover is not None:
            is_instead = self.mover.timing == "instead"
            step = self._steps_done(trainer) + (not is_instead)
            self._collect(step)
            if step > 0 and self._acts(step):
                if is_instead:
                    self._move_(trainer, optimizer, step=step)
                    optimizer.zero_grad(set_to_none=True)  # a step without gradients is none
                    return
                self._due = step
        if self.mask_gradients:
            gradients = [p.grad for p in self._parameters.values()]
            pairs = [(g, f) for g, f in zip(gradients, self._floats, strict=True) if g is not None]
            torch._foreach_mul_([g for g, _ in pairs], [f for _, f in pairs])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        self._apply_()
        if self._stepped:
            self.mask_history.count_step()
            self._stepped = False
        if self._due is not None:
            self._move_(trainer, trainer.optimizers[0], step=self._due)
            self._due = None

    @torch.no_grad()
    def _apply_(self) -> None:
        if self._floats:
            torch._foreach_mul_(list(self._parameters.values()), self._floats)

    def _steps_done(self, trainer: Trainer) -> int:
        return self.first_step + trainer.global_step

    def _acts(self, step: int) -> bool:
        assert self.num_steps is not None or self.mover is None
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
        moved = self.mover.move(step, weights, gradients, before, self.num_steps or 0)
        if moved is None:
            return
        self._install_(trainer, moved)
        # What grows starts without a past: dense gradients may have left one at its place.
        staying = {name: before[name] & mask for name, mask in self.masks.items()}
        mask_optimizer_state_(optimizer, self._parameters, staying)

    def _install_(self, trainer: Trainer, masks: Masks) -> None:
        # Multiplied as floats of the weights' own layout: two to four times as fast as bool.
        devices = {name: p.device for name, p in self._parameters.items()}
        self.masks = {name: mask.to(devices[name]) for name, mask in masks.items()}
        self._floats = [
            torch.empty_like(p).copy_(self.masks[name]).detach()
            for name, p in self._parameters.items()
        ]
        check_equal_on_ranks(trainer, self.masks)
        self.mask_history.note(self.masks)
        self._apply_()


def named_parameters_of(
    module: torch.nn.Module, masks: Mapping[str, Tensor], prefix: str = ""
) -> dict[str, Parameter]:
    """The masked parameters of `module`, in mask order; ValueError where name or shape misfits."""
    known = dict(module.named_parameters())
    found = {}
    for name, mask in masks.items():
        parameter = known.get(prefix + name)
        if parameter is None:
            raise ValueError(f"mask {name!r} fits no parameter; there are {', '.join(known)}")
        if parameter.shape != mask.shape:
            shapes = f"{tuple(mask.shape)}, its parameter {tuple(parameter.shape)}"
            raise ValueError(f"mask {name!r} has shape {shapes}")
        found[name] = parameter
    return found


@torch.no_grad()
def mask_optimizer_state_(
    optimizer: Optimizer, parameters: Mapping[str, Parameter], masks: Masks
) -> None:
    """Zero, in place, whatever the optimizer remembers of pruned weights."""
    for name, parameter in parameters.items():
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value.masked_fill_(~masks[name].to(value.device), 0)


def check_equal_on_ranks(trainer: Trainer, masks: Masks) -> None:
    """Raise RuntimeError unless every rank holds the same masks."""
    if trainer.world_size == 1:
        return
    mine = torch.frombuffer(bytearray(digest(masks)), dtype=torch.uint8).clone()
    mine = mine.to(trainer.strategy.root_device)
    gathered = trainer.strategy.all_gather(mine).view(trainer.world_size, -1).cpu()
    differing = [
        rank for rank in range(trainer.world_size) if not gathered[rank].equal(gathered[0])
    ]
    if differing:
        raise RuntimeError(f"masks on ranks {differing} differ from those on rank 0")


def digest(masks: Masks) -> bytes:
    """32 bytes that change with any bit of any mask."""
    total = hashlib.sha256()
    for name in sorted(masks):
        total.update(name.encode())
        total.update(masks[name].cpu().numpy().tobytes())
    return total.digest()
