"""The owner of the masks: in our fits, and in somebody else's Lightning project."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sparsekit.core.types import Masks, Weights
from sparsekit.training.masked_parameters import (
    check_equal_on_ranks,
    digest,
    mask_optimizer_state_,
    named_parameters_of,
)
from sparsekit.training.masking import Masking

Timing = Literal["after", "instead"]


class Regression(LightningModule):
    """A stranger's module: knows nothing of sparsity."""

    def __init__(self, optimizer: str = "SGD") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 4)
        self.head = nn.Linear(4, 1)
        self.optimizer = optimizer

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self.head(self.layer(inputs)), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.optimizer == "SGD":
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        return torch.optim.AdamW(self.parameters(), lr=0.1)


def half_masks() -> Masks:
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:, ::2] = True
    return {"layer.weight": mask}


def loader() -> DataLoader[tuple[Tensor, ...]]:
    """Five batches of eight."""
    generator = torch.Generator().manual_seed(1)
    inputs, targets = (torch.randn(40, n, generator=generator) for n in (6, 1))
    return DataLoader(TensorDataset(inputs, targets), batch_size=8)


def trainer(callbacks: list[Callback], epochs: int, folder: Path, **options: object) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


class Watch(Callback):
    """Notes after every step whether pruned weights are zero, and their gradients."""

    def __init__(self) -> None:
        self.zeros: list[bool] = []
        self.gradients: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        pruned = ~half_masks()["layer.weight"]
        weight = module.get_parameter("layer.weight")
        assert weight.grad is not None
        self.zeros.append(bool((weight[pruned] == 0).all()))
        self.gradients.append(float(weight.grad[pruned].abs().sum()))


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("mask_gradients", [False, True])
def test_pruned_weights_stay_zero_and_their_gradients_stay_dense(
    optimizer: str, mask_gradients: bool, tmp_path: Path
) -> None:
    watch = Watch()
    module = Regression(optimizer)
    before = module.layer.weight.detach().clone()
    masking = Masking(half_masks(), mask_gradients=mask_gradients)
    trainer([masking, watch, ModelCheckpoint(tmp_path)], 2, tmp_path).fit(module, loader())
    assert watch.zeros == [True] * 10
    assert all((g == 0) == mask_gradients for g in watch.gradients)
    kept = half_masks()["layer.weight"]
    assert bool((module.layer.weight.detach()[kept] != before[kept]).all())
    assert set(module.state_dict()) == set(Regression().state_dict())


def test_clipping_sees_the_norm_of_masked_gradients(tmp_path: Path) -> None:
    class Norm(Callback):
        seen = 0.0

        def on_train_batch_end(self, *_: object) -> None:
            grads = [p.grad for p in module.parameters() if p.grad is not None]
            self.seen = float(torch.stack([g.square().sum() for g in grads]).sum().sqrt())

    module, norm = Regression(), Norm()
    masking = Masking(half_masks(), mask_gradients=True)
    trainer([masking, norm, ModelCheckpoint(tmp_path)], 1, tmp_path, gradient_clip_val=1e-3).fit(
        module, loader()
    )
    assert norm.seen == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("timing", ["after", "instead"])
def test_masks_and_moves_travel_in_a_strangers_checkpoint(timing: Timing, tmp_path: Path) -> None:
    """Ten steps, or five and a resumed five, with a mover: the same bits. The mean of the
    gradients of steps five and six is cut by the end of the first part."""

    def run(epochs: int, folder: Path, resume: str | None = None) -> tuple[Masking, Regression]:
        module = Regression()
        masking = Masking(half_masks(), mover=ShiftAtThree(timing, num_gradients=2))
        saving = ModelCheckpoint(folder, save_last=True)
        fitted = trainer([masking, saving], epochs, folder)
        fitted.fit(module, loader(), ckpt_path=resume)
        return masking, module

    whole, module = run(2, tmp_path / "whole")
    run(1, tmp_path / "parts")
    resumed, other = run(2, tmp_path / "parts", resume=str(tmp_path / "parts" / "last.ckpt"))
    assert digest(whole.masks) != digest(half_masks()), "the mover must have moved the masks"
    assert digest(resumed.masks) == digest(whole.masks)
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@dataclasses.dataclass
class ShiftAtThree:
    """Shifts all rows by one column at step three, one row at six; notes what it was given."""

    timing: Timing = "after"
    num_gradients: int = 1
    given: list[tuple[int, Weights, Weights]] = dataclasses.field(default_factory=list)

    def acts(self, step: int, num_steps: int) -> bool:
        return step in (3, 6)

    def move(
        self, step: int, weights: Weights, grads: Weights, masks: Masks, num_steps: int
    ) -> Masks:
        assert bool((grads["layer.weight"][~masks["layer.weight"]] != 0).any())
        self.given.append((step, {n: w.clone() for n, w in weights.items()}, grads))
        rows = 4 if step == 3 else 1
        shifted = {name: mask[:rows].roll(1, dims=1) for name, mask in masks.items()}
        return {name: torch.cat([shifted[name], mask[rows:]]) for name, mask in masks.items()}

    def rehearse(self, weights: Weights, masks: Masks, num_steps: int) -> None:
        pass


class Trace(Callback):
    """Weights after every step and the dense gradients of every step."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        gradient = module.get_parameter("layer.weight").grad
        assert gradient is not None
        self.gradients.append(gradient.clone())

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.weights.append(module.get_parameter("layer.weight").detach().clone())


def moved(mover: ShiftAtThree, folder: Path, optimizer: str = "SGD") -> tuple[Masking, Trace]:
    """Ten steps; the trace sees gradients before the mover does and weights after it moved."""
    masking, trace = Masking(half_masks(), mover=mover), Trace()
    fitted = trainer([trace, masking, ModelCheckpoint(folder)], 2, folder)
    fitted.fit(Regression(optimizer), loader())
    return masking, trace


@pytest.mark.parametrize("num_gradients", [1, 3])
def test_movers_get_the_mean_of_the_last_gradients(num_gradients: int, tmp_path: Path) -> None:
    mover = ShiftAtThree(num_gradients=num_gradients)
    _, trace = moved(mover, tmp_path)
    assert [step for step, _, _ in mover.given] == [3, 6]
    for step, _, grads in mover.given:
        expected = torch.stack(trace.gradients[step - num_gradients : step]).mean(0)
        assert torch.allclose(grads["layer.weight"], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_masks_move_after_a_step_or_instead_of_one(optimizer: str, tmp_path: Path) -> None:
    """Masks move right after a step, so that no callback sees its weights under the old masks."""
    for timing in ("after", "instead"):
        mover = ShiftAtThree(timing)
        _, trace = moved(mover, tmp_path / timing, optimizer)
        (step, given, _), *_ = mover.given
        kept = half_masks()["layer.weight"]
        if timing == "after":  # three steps are done, and everything that was kept is dropped
            assert bool((given["layer.weight"][kept] != trace.weights[step - 2][kept]).all())
            assert bool((trace.weights[step - 1] == 0).all())
        else:  # three steps are done; in place of the fourth nothing but the masks changes
            assert torch.equal(given["layer.weight"], trace.weights[step - 1] * kept)
            after = given["layer.weight"] * kept.roll(1, dims=1)
            assert torch.equal(trace.weights[step], after)
        assert not torch.equal(trace.weights[1], trace.weights[0]), "other steps are steps"


def test_what_grows_has_no_past(tmp_path: Path) -> None:
    """Gradients of pruned weights are dense and leave momentum behind; it must go on growth."""

    class Momentum(Callback):
        seen: Tensor

        def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            state = trainer.optimizers[0].state[module.get_parameter("layer.weight")]
            if trainer.global_step == 3:
                self.seen = state["momentum_buffer"].clone()

    momentum = Momentum()
    masking = Masking(half_masks(), mover=ShiftAtThree())
    trainer([masking, momentum, ModelCheckpoint(tmp_path)], 1, tmp_path).fit(Regression(), loader())
    assert bool((momentum.seen == 0).all()), "every column was grown or dropped"


def test_topology_counts_what_was_ever_active_and_the_mean_over_steps(tmp_path: Path) -> None:
    masking, _ = moved(ShiftAtThree(), tmp_path)
    summary = masking.mask_history.summary()
    assert summary == {"average_num_kept": 12.0, "itop": 1.0, "itop_sparse": 1.0}
    still = Masking({**half_masks(), "head.weight": torch.ones(1, 4, dtype=torch.bool)})
    summary = still.mask_history.summary()
    assert summary == {"average_num_kept": 16, "itop": 16 / 28, "itop_sparse": 0.5}


def test_optimizer_state_of_pruned_weights_is_zeroed() -> None:
    module = Regression("AdamW")
    optimizer = module.configure_optimizers()
    for inputs, targets in loader():
        module.training_step((inputs, targets), 0).backward()
        optimizer.step()
    masks = half_masks()
    mask_optimizer_state_(optimizer, named_parameters_of(module, masks), masks)
    state = optimizer.state[module.layer.weight]
    for name in ("exp_avg", "exp_avg_sq"):
        assert bool((state[name][~masks["layer.weight"]] == 0).all())
        assert bool((state[name][masks["layer.weight"]] != 0).all())
    assert bool((optimizer.state[module.head.weight]["exp_avg"] != 0).all())


def test_masks_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lyer.weight.*layer.weight"):
        named_parameters_of(Regression(), {"lyer.weight": torch.ones(4, 6)})
    with pytest.raises(ValueError, match=r"\(6, 4\).*\(4, 6\)"):
        named_parameters_of(Regression(), {"layer.weight": torch.ones(6, 4)})


class TwoRanks:
    """A stand-in for a Trainer on two ranks, whose other rank holds `other`."""

    world_size = 2

    def __init__(self, other: Masks) -> None:
        self.other = torch.frombuffer(bytearray(digest(other)), dtype=torch.uint8)
        self.strategy = self
        self.root_device = torch.device("cpu")

    def all_gather(self, mine: Tensor) -> Tensor:
        return torch.stack([mine, self.other])


def test_ranks_with_different_masks_are_caught() -> None:
    masks = half_masks()
    check_equal_on_ranks(TwoRanks(half_masks()), masks)  # type: ignore[arg-type]
    other = {name: mask.clone() for name, mask in masks.items()}
    other["layer.weight"][3, 5] ^= True
    with pytest.raises(RuntimeError, match=r"masks on ranks \[1\] differ"):
        check_equal_on_ranks(TwoRanks(other), masks)  # type: ignore[arg-type]
