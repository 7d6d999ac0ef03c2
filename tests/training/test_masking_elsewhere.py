"""Masking in projects that know nothing of it: averages, unknown lengths, several fits."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.strategies import FSDPStrategy
from torch.utils.data import DataLoader

from sparsekit.training.masking import Masking
from tests.training.strangers import (
    NAME,
    Plain,
    Stream,
    data,
    dense,
    fifth,
    gmp,
    loader,
    rigl,
    trainer,
)


def ema() -> Callback:
    return EMAWeightAveraging(decay=0.9)


def swa() -> Callback:
    return StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)


@pytest.mark.parametrize("average", [ema, swa])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("moves", [True, False])
def test_averages_are_pruned_in_whatever_order_callbacks_stand(
    average: Any, first: bool, moves: bool, tmp_path: Path
) -> None:
    """After the fit, in every validation, and in every checkpoint."""
    module = Plain()
    masking = Masking(fifth(module), mover=rigl() if moves else None)
    began = {name: mask.clone() for name, mask in masking.masks.items()}
    saving = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_epochs=1)
    callbacks = [masking, average()] if first else [average(), masking]
    fitted = trainer([*callbacks, saving], max_epochs=4, enable_checkpointing=True)
    fitted.fit(module, loader(), val_dataloaders=DataLoader(data(), batch_size=160))
    pruned = ~masking.masks[NAME]
    assert (not torch.equal(masking.masks[NAME], began[NAME])) == moves
    assert bool((module.weight[pruned] == 0).all())
    assert bool((module.weight[~pruned] != 0).any())
    densities = [float((weight != 0).float().mean()) for weight in module.validated]
    assert len(densities) >= 4
    assert max(densities) < 0.25
    paths = sorted(tmp_path.glob("*.ckpt"))
    assert len(paths) >= 4
    for path in paths:
        state = torch.load(path, weights_only=False)["state_dict"]
        assert float((state[NAME] != 0).float().mean()) < 0.25
    fitted.validate(module, DataLoader(data(), batch_size=160), verbose=False)
    assert bool((module.validated[-1][pruned] == 0).all())


@pytest.mark.parametrize(
    ("batches", "options"),
    [
        (DataLoader(Stream(), batch_size=16), {}),
        (loader(), {"max_epochs": -1, "max_time": "00:01:00:00"}),
    ],
)
def test_masks_cannot_move_along_a_length_that_nobody_knows(
    batches: DataLoader[Any], options: dict[str, Any]
) -> None:
    module = Plain()
    with pytest.raises(ValueError, match="num_steps="):
        trainer([Masking(dense(module), mover=gmp())], **options).fit(module, batches)


def test_num_steps_says_the_length_of_a_stream() -> None:
    module = Plain()
    masking = Masking(dense(module), mover=gmp(until=1.0), num_steps=20)
    trainer([masking]).fit(module, DataLoader(Stream(), batch_size=16))
    assert float(masking.masks[NAME].float().mean()) == pytest.approx(0.1, abs=1e-2)


def test_fixed_masks_need_no_length() -> None:
    module = Plain()
    trainer([Masking(fifth(module))]).fit(module, DataLoader(Stream(), batch_size=16))
    assert bool((module.weight[~fifth(module)[NAME]] == 0).all())


def test_masks_that_have_not_come_to_their_end_are_told() -> None:
    module = Plain()
    masking = Masking(dense(module), mover=gmp(), num_steps=400)
    with pytest.warns(UserWarning, match="training ended at step 20 of the 400"):
        trainer([masking]).fit(module, loader())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="training ended at")
        trainer([Masking(dense(module), mover=gmp())]).fit(module, loader())


def test_a_second_fit_counts_its_own_steps() -> None:
    """The masks go on from where they are, along the length of the new fit."""
    module = Plain()
    masking = Masking(fifth(module), mover=rigl())
    trainer([masking], max_epochs=1).fit(module, loader())
    assert (masking.step, masking.num_steps) == (10, 10)
    after = masking.masks[NAME].clone()
    trainer([masking], max_epochs=3).fit(module, loader())
    assert (masking.step, masking.num_steps) == (30, 30)
    assert masking.mask_history.num_steps == 30
    assert not torch.equal(masking.masks[NAME], after)
    assert bool((module.weight[~masking.masks[NAME]] == 0).all())


def test_the_trainer_may_go_on_with_the_same_callback() -> None:
    module = Plain()
    masking = Masking(dense(module), mover=gmp(until=1.0))
    fitted = trainer([masking], max_epochs=1)
    fitted.fit(module, loader())
    fitted.fit_loop.max_epochs = 2
    fitted.fit(module, loader())
    assert (masking.step, masking.num_steps) == (20, 20)
    assert len([c for c in fitted.callbacks if type(c).__name__ == "LastWord"]) == 1  # type: ignore[attr-defined]


def test_accumulated_pieces_are_one_step() -> None:
    module = Plain()
    masking = Masking(dense(module), mover=gmp())
    trainer([masking], accumulate_grad_batches=2).fit(module, loader())
    assert (masking.step, masking.num_steps) == (10, 10)
    assert float(masking.masks[NAME].float().mean()) == pytest.approx(0.1, abs=1e-2)


def test_a_compiled_submodule_is_named() -> None:
    module = Plain()
    masks = fifth(module)
    module.net = torch.compile(module.net, backend="eager")  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"calls it 'net._orig_mod.0.weight'.*module.compile\(\)"):
        trainer([Masking(masks)]).fit(module, loader())


def test_sharded_parameters_are_refused() -> None:
    class Fake:
        strategy = FSDPStrategy()

    module = Plain()
    with pytest.raises(ValueError, match="FSDPStrategy shards"):
        Masking(fifth(module)).setup(Fake(), module, "fit")  # type: ignore[arg-type]
