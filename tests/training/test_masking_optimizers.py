"""Masking beside the optimizers of others: several, ones that mix elements, skipped layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    ModelCheckpoint,
)
from torch import Tensor, nn

from sparsekit.core import rules
from sparsekit.core.movers import Rewire
from sparsekit.core.types import Masks, Mover
from sparsekit.training.masking import Masking
from tests.training.strangers import (
    NAME,
    Gan,
    Plain,
    fifth,
    loader,
    rigl,
    trainer,
)


def test_masks_hold_between_the_steps_of_one_batch() -> None:
    module = Gan()
    masks = fifth(module, "d.0.weight", "g.0.weight")
    trainer([Masking(masks)]).fit(module, loader())
    assert len(module.seen) == 40
    assert all(bool((w[~masks["d.0.weight"]] == 0).all()) for w in module.seen)


@pytest.mark.parametrize(("name", "index", "steps"), [("g.0.weight", 0, 20), ("d.0.weight", 1, 40)])
def test_movers_count_the_steps_of_the_optimizer_of_their_weights(
    name: str, index: int, steps: int
) -> None:
    forgotten = []

    class Noted(Rewire):
        def move(self, step: int, *rest: Any) -> Masks | None:
            moves.append(step)
            return super().move(step, *rest)

    class Watched(Masking):
        def _move_(self, trainer: Trainer, optimizer: Any, *, step: int) -> None:
            before = self.masks[name].clone()
            super()._move_(trainer, optimizer, step=step)
            grown = self.masks[name] & ~before
            state = trainer.optimizers[index].state[self._parameters[name]]
            forgotten.append(bool((state["exp_avg"][grown] == 0).all()) and bool(grown.any()))

    moves: list[int] = []
    module = Gan()
    mover = Noted(rule=rules.rigl_rule, interval=5)
    masking = Watched(fifth(module, name), mover=mover, num_steps=steps)
    trainer([masking]).fit(module, loader())
    assert masking.step == steps
    assert moves == [step for step in range(steps) if mover.acts(step, steps)]
    assert forgotten == [True] * len(moves)


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("d.0.weight",), {}, "num_steps="),
        (("d.0.weight", "g.0.weight"), {"num_steps": 40}, "2 optimizers"),
    ],
)
def test_movers_of_several_optimizers_are_refused(
    names: tuple[str, ...], settings: dict[str, Any], message: str
) -> None:
    module = Gan()
    masking = Masking(fifth(module, *names), mover=rigl(), **settings)
    with pytest.raises(ValueError, match=message):
        trainer([masking]).fit(module, loader())


def test_several_maskings_travel_in_one_checkpoint(tmp_path: Path) -> None:
    def run(epochs: int, folder: Path, resume: str | None = None) -> list[Masking]:
        module = Gan()
        torch.manual_seed(5)
        both = [
            Masking(fifth(module, name), mover=rigl(), num_steps=steps)
            for name, steps in (("g.0.weight", 20), ("d.0.weight", 40))
        ]
        saving = ModelCheckpoint(folder, save_last=True)
        fitted = trainer([*both, saving], max_epochs=epochs, enable_checkpointing=True)
        fitted.fit(module, loader(), ckpt_path=resume, weights_only=False)
        return both

    run(1, tmp_path)
    resumed = run(2, tmp_path, str(tmp_path / "last.ckpt"))
    assert [one.step for one in resumed] == [20, 40]
    assert [one.mask_history.num_steps for one in resumed] == [20, 40]


def test_an_optimizer_that_is_stepped_behind_the_back_of_a_mover_is_told() -> None:
    class Raw(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Any:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    module = Raw()
    with pytest.raises(RuntimeError, match="without Lightning's knowledge"):
        trainer([Masking(fifth(module), mover=rigl(), num_steps=20)]).fit(module, loader())
    trainer([Masking(fifth(module))]).fit(module, loader())
    assert bool((module.weight[~fifth(module)[NAME]] == 0).all())


@pytest.mark.parametrize(
    ("kind", "settings", "mixes"),
    [
        (torch.optim.Adafactor, {"lr": 0.05}, True),
        (torch.optim.Muon, {"lr": 0.05}, True),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}, False),
        (torch.optim.RMSprop, {"lr": 0.01}, False),
    ],
)
def test_gradients_of_pruned_weights_reach_no_other_weight(
    kind: Any, settings: dict[str, Any], mixes: bool
) -> None:
    """The weights come out as if all gradients had been masked, and movers get dense ones."""

    class OneMatrix(Plain):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            optimizer: torch.optim.Optimizer = kind([self.weight], **settings)
            return optimizer

    def fitted(mover: Mover | None = None, **options: Any) -> tuple[Plain, list[bool]]:
        class Watch(Callback):
            def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
                dense.append(bool((module.weight.grad[~masks[NAME]] != 0).any()))

        dense: list[bool] = []
        module = OneMatrix()
        masks = fifth(module)
        trainer([Masking(masks, mover=mover, **options), Watch()]).fit(module, loader())
        return module, dense

    module, dense = fitted()
    assert dense == [not mixes] * 20
    masked, _ = fitted(mask_gradients=True)
    assert torch.equal(module.weight, masked.weight)
    seen: list[bool] = []

    class Noted(Rewire):
        def move(self, step: int, weights: Any, grads: Any, masks: Any, *rest: Any) -> Any:
            seen.append(bool((grads[NAME][~masks[NAME]] != 0).any()))
            return super().move(step, weights, grads, masks, *rest)

    fitted(Noted(rule=rules.rigl_rule, interval=5))
    assert seen == [True, True]


def test_clipping_by_the_trainer_sees_masked_gradients() -> None:
    class Norm(Callback):
        seen = 0.0

        def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
            self.seen = float(module.weight.grad[~fifth(module)[NAME]].abs().sum())

    module, norm = Plain(), Norm()
    norm.seen = 1.0
    trainer([Masking(fifth(module)), norm], gradient_clip_val=1.0).fit(module, loader())
    assert norm.seen == 0.0


def test_layers_that_nothing_trains_keep_their_masks() -> None:
    """A frozen one, and one that the forward pass leaves out."""

    class Parts(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(8, 8)
            self.net[0].requires_grad_(False)

    module = Parts()
    masking = Masking(fifth(module, NAME, "net.3.weight", "unused.weight"), mover=rigl())
    before = {name: mask.clone() for name, mask in masking.masks.items()}
    weights = module.weight.detach() * before[NAME]
    with pytest.warns(UserWarning, match="net.0.weight, unused.weight; their masks stay"):
        trainer([masking]).fit(module, loader())
    moved = [name for name, mask in masking.masks.items() if not torch.equal(mask, before[name])]
    assert moved == ["net.3.weight"]
    assert torch.equal(module.weight, weights), "a frozen layer is pruned, and nothing else"


class Skips(Plain):
    """Its first layer runs in every other step."""

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        hidden = self.net[0](batch[0]) if batch_idx % 2 else batch[0].repeat(1, 2)
        return nn.functional.cross_entropy(self.net[3](self.net[2](hidden)), batch[1])


def test_layers_that_run_in_some_steps_move_by_the_mean_over_all() -> None:
    given: list[Tensor] = []

    class Noted(Rewire):
        def move(self, step: int, weights: Any, grads: Any, masks: Any, *rest: Any) -> Any:
            given.append(grads[NAME].clone())
            return super().move(step, weights, grads, masks, *rest)

    class Trace(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, module: Any, *_: Any) -> None:
            grad = module.weight.grad
            trace.append(torch.zeros_like(module.weight) if grad is None else grad.clone())

    trace: list[Tensor] = []
    module = Skips()
    mover = Noted(rule=rules.rigl_rule, interval=5, num_gradients=3)
    masking = Masking(fifth(module, NAME, "net.3.weight"), mover=mover)
    trainer([Trace(), masking], max_epochs=1).fit(module, loader())
    assert len(given) == 1
    expected = torch.stack(trace[2:5]).mean(0)
    assert bool((expected != 0).any())
    assert bool((trace[2] == 0).all())
    assert torch.allclose(given[0], expected, rtol=1e-6, atol=0)
