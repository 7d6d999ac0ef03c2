"""The lean loop of a fit against Lightning's own: the same bits, and the same calls in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch import Callback, Trainer

from sparsekit.report.compare import differences
from sparsekit.store.store import Store
from sparsekit.training import lean_loop
from sparsekit.training.lean_loop import LeanStep

Run = Callable[..., tuple[Store, list[str]]]
SEEN: list[tuple[Any, ...]] = []
ADAMW = "train.optimizer={_target_:sparsekit.training.optimizers.adamw}"
COSINE = "train.schedule={_target_:sparsekit.core.learning_rates.cosine,peak:0.1}"
HOOKS = [name for name in dir(Callback) if name.startswith("on_")]


class Witness(Callback):
    """Notes every call of every hook, and what the trainer and the module say meanwhile.

    It logs after each batch. Asked to, it stops the training after so many steps.
    """

    def __init__(self, last_step: int = 0) -> None:
        for name in HOOKS:
            setattr(self, name, lambda *arguments, name=name: self.note(name, *arguments))
        self.last_step = last_step

    def note(self, name: str, trainer: Trainer, module: Any, *arguments: Any) -> None:
        numbers = [_number(one) for one in arguments]
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        counts = str(trainer.fit_loop.state_dict())
        inside = (module._current_fx_name, module.step, trainer.global_step, trainer.is_last_batch)
        SEEN.append((name, numbers, metrics, counts, *inside))
        if name == "on_train_batch_end":
            module.log("witnessed", float(module.step), on_step=True, on_epoch=True)
            trainer.should_stop = module.step == self.last_step


def _number(argument: Any) -> Any:
    if isinstance(argument, torch.Tensor):
        return argument.double().sum().item()
    if isinstance(argument, tuple | list):
        return [_number(one) for one in argument]
    if isinstance(argument, dict):
        return {key: _number(one) for key, one in argument.items()}
    return argument if isinstance(argument, int) else type(argument).__name__


@pytest.fixture
def lean_epochs(monkeypatch: pytest.MonkeyPatch) -> list[LeanStep]:
    """The epochs that the lean loop has run so far."""
    begun: list[LeanStep] = []
    begin = LeanStep.__init__

    def note(self: LeanStep, loop: lean_loop.LeanEpochLoop) -> None:
        begun.append(self)
        begin(self, loop)

    monkeypatch.setattr(LeanStep, "__init__", note)
    return begun


@pytest.mark.parametrize(
    "asked",
    [
        ("method=imp", "method.cycles=2", "train.clip_norm=0.1", COSINE),
        ("method=rigl", "method.mover.interval=2", "method.mover.num_gradients=2"),
        ("method=sr_ste", ADAMW, "model=resnet20", "+model.width=4"),
    ],
)
def test_both_loops_leave_the_same_bits(
    asked: tuple[str, ...],
    run_tiny: Run,
    lean_epochs: list[LeanStep],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lean, _ = run_tiny(*asked, store="lean")
    num_epochs = len(lean_epochs)
    monkeypatch.setattr(lean_loop, "is_plain", lambda trainer: False)
    own, _ = run_tiny(*asked, store="own")
    assert num_epochs == len(lean_epochs) > 0
    assert differences(lean, own) == []


@pytest.mark.parametrize("last_step", [0, 7])
def test_a_callback_sees_the_same_in_both_loops(
    last_step: int,
    run_tiny: Run,
    lean_epochs: list[LeanStep],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = f"{__name__}.{Witness.__name__}"
    asked = f"+callbacks.witness={{_target_:{target},last_step:{last_step}}}"
    SEEN.clear()
    lean, _ = run_tiny("method=one_shot", asked, store="lean")
    seen = list(SEEN)
    assert lean_epochs
    assert {"on_before_zero_grad", "on_after_backward"} < {name for name, *_ in seen}
    SEEN.clear()
    monkeypatch.setattr(lean_loop, "is_plain", lambda trainer: False)
    own, _ = run_tiny("method=one_shot", asked, store="own")
    assert seen == SEEN
    assert differences(lean, own) == []


@pytest.mark.parametrize("asked", ["train.accumulate=4", "train.precision=bf16-mixed"])
def test_what_is_unusual_is_left_to_lightning(
    asked: str, run_tiny: Run, lean_epochs: list[LeanStep]
) -> None:
    run_tiny("method=one_shot", asked)
    assert not lean_epochs


def test_a_release_of_lightning_that_is_not_known_runs_its_own_loop(
    run_tiny: Run, lean_epochs: list[LeanStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning, "__version__", "2.99.0")
    run_tiny("method=one_shot")
    assert not lean_epochs
