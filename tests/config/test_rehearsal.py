"""What a sweep shares is rehearsed once, and every run is still refused for its own mistakes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsekit.configuration.compose import compose_runs
from sparsekit.configuration.config import ConfigError
from sparsekit.runs import rehearsal
from sparsekit.runs.runner import prepare_run, rehearse_all
from tests.conftest import TINY

COUNTING = """
from sparsekit.core import allocate, patterns, prune, scores

calls = []

def counted(weights, masks, probe=None, num_kept=0, *, seed: int = 0, keep: str = "large"):
    calls.append((seed, num_kept))
    if keep != "large":
        raise ValueError(f"keep={keep!r} is not one of large")
    return prune.prune(
        weights, masks, probe, num_kept, score=scores.magnitude, allocate=allocate.globally,
        pattern=patterns.unstructured,
    )
"""
PRUNE = "method.prune={_target_:counting_prune.counted,seed:${seed}}"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every call of a prune function of the user's."""
    (tmp_path / "counting_prune.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    import counting_prune

    yield counting_prune.calls
    sys.modules.pop("counting_prune")


@pytest.fixture
def rehearse(tmp_path: Path) -> Callable[..., None]:
    def run(*overrides: str) -> None:
        store = f"runtime.store={tmp_path / 'runs'}"
        rehearse_all([prepare_run(one) for one in compose_runs([*TINY, store, *overrides])])

    return run


def test_pruning_is_rehearsed_once_for_every_budget(
    calls: list[Any], rehearse: Callable[..., None]
) -> None:
    rehearse("method=one_shot", PRUNE, "train.schedule.peak=0.1,0.2,0.3", "seed=0,1")
    assert len(calls) == 1
    rehearse("method=one_shot", PRUNE, "sparsity=0.5,0.6", "seed=0,1")
    assert len({num_kept for _, num_kept in calls}) == len(calls) == 3
    rehearse("method=one_shot", PRUNE, "model=lenet_300_100")
    assert len(calls) == 4, "another task"


def test_what_failed_is_tried_again(calls: list[Any], rehearse: Callable[..., None]) -> None:
    wrong = PRUNE.replace("seed:", "keep:small,seed:")
    for _ in range(2):
        with pytest.raises(ConfigError, match="keep='small' is not one of large"):
            rehearse("method=one_shot", wrong)
    assert len(calls) == 2


LATER = [
    ("train.schedule.peak=0.1,-0.1", "gives the learning rate -0.1"),
    ("train.batch_size=8,5000", "train.batch_size=5000 is more than the 1257 training examples"),
    ("train.optimizer.weight_decay=0,-1", "weight_decay=-1 is negative"),
    ("train.precision=32-true,16-mixed", "train.precision=16-mixed needs a GPU"),
    ("method.rewind_step=0,100000", "is method.rewind_step too late"),
]


@pytest.mark.parametrize(("swept", "message"), LATER, ids=[swept for swept, _ in LATER])
def test_the_second_run_is_refused_for_what_the_first_did_right(
    rehearse: Callable[..., None], swept: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        rehearse("method=imp", "method.cycles=2", swept)
    wrong = f"{swept.partition('=')[0]}={swept.rpartition(',')[2]}"
    assert wrong in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("method=imp method.remove=0.95 method.cycles=5", "feasible are 3 cycles"),
        ("method=one_shot sparsity=0.99999", "sparsity=0.99999 keeps none of 8,832 prunable"),
        ("method=gmp sparsity=0.99999", "sparsity=0.99999 keeps none of 8,832 prunable"),
        ("method=srigl sparsity=0.99", "88 weights with a weight in every row .* number is 138"),
        ("method=random prune@method.prune=random_erk_balanced sparsity=0.99", "is 138: '1.weight"),
        ("method=srigl prune@method.prune=random_erk", "mask of constant fan-in is needed"),
        ("method=rigl method.mover.interval=1000", "moves nothing in a fit of 10 steps"),
    ],
)
def test_what_a_method_cannot_do_is_refused_before_training(
    rehearse: Callable[..., None], asked: str, message: str
) -> None:
    words = asked.split()
    if "mover" not in asked and "srigl" in asked:
        words.append("method.mover.interval=2")
    with pytest.raises(ConfigError, match=message):
        rehearse(*words)


@pytest.mark.parametrize(
    "reader", ["train.clip_norm=1", "method=rigl", "method=sr_ste", "method=group_lasso"]
)
def test_scaled_gradients_are_not_read_from_fused_optimizers(
    rehearse: Callable[..., None], monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    monkeypatch.setattr(rehearsal, "device_of", lambda runtime: torch.device("cuda"))
    asked = ["train.precision=16-mixed", reader]
    asked += ["method.mover.interval=2"] if reader == "method=rigl" else []
    asked += ["method=one_shot"] if reader.startswith("train") else []
    with pytest.raises(ConfigError, match=r"needs train\.optimizer\.fused=false"):
        rehearse(*asked)
    rehearse(*asked, "train.optimizer.fused=false")
    rehearse("method=one_shot", "train.precision=16-mixed")


def test_pieces_of_batches_on_several_nodes_are_refused_where_batchnorm_sees_them(
    rehearse: Callable[..., None],
) -> None:
    nodes = ("method=dense", "cluster=slurm", "resources.nodes=2")
    small = ("model=resnet20", "model.depth=8", "model.width=4")
    rehearse(*nodes, "train.accumulate=2")
    rehearse(*nodes, *small)
    with pytest.raises(ConfigError, match=r"train.accumulate=2 on 2 devices: BatchNorm would see"):
        rehearse(*nodes, *small, "train.accumulate=2")


def test_every_fit_of_a_cycle_is_rehearsed(rehearse: Callable[..., None]) -> None:
    several = ("method=soup", "method.num_particles=1")
    rehearse(*several, "method.variations=[{seed:1},{particle:1},{epochs:0.2}]")
    with pytest.raises(ConfigError, match=r"particle=0\.5 is not a whole number"):
        rehearse(*several, "method.variations=[{seed:1},{particle:0.5}]")
    with pytest.raises(ConfigError, match=r"gives the learning rate -0\.016"):
        rehearse(*several, "method.variations=[{peak:0.1},{peak:-1}]")
    unused = "method.mover.exceptions={no.such:{_target_:sparsekit.core.rules.set_rule}}"
    with pytest.raises(ConfigError, match="match none of the layers"):
        rehearse("method=set", unused)


STRANGERS = """
import torch
import torch.nn.functional as F
from torch import nn


class Standardised(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


def standardised(shape, num_outputs):
    return nn.Sequential(nn.Flatten(), Standardised(64, 8), nn.ReLU(), nn.Linear(8, num_outputs))


class Spare(nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.head, self.spare = nn.LazyLinear(num_outputs), nn.Linear(3, 3)
        self.mix = nn.Parameter(torch.eye(64))

    def forward(self, x):
        return self.head(x.flatten(1) @ self.mix)


def spare(shape, num_outputs):
    return Spare(num_outputs)
"""


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks of the user's own."""
    (tmp_path / "strange_models.py").write_text(STRANGERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("strange_models", None)


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize(
    "method",
    [
        ("method=one_shot",),
        ("method=gmp", "method.mover.interval=1"),
        ("method=rigl", "method.mover.interval=1"),
    ],
)
def test_masks_without_effect_are_refused(
    rehearse: Callable[..., None], method: tuple[str, ...]
) -> None:
    model = ("model=lenet_300_100", "model._target_=strange_models.standardised")
    with pytest.raises(ConfigError, match=r"no effect.*prunable\.exclude=\[1\.weight\]"):
        rehearse(*method, *model, "sparsity=0.5")
    rehearse(*method, *model, "sparsity=0.5", "+prunable.exclude=[1.weight]")
    rehearse("method=dense", *model)


@pytest.mark.usefixtures("strangers")
def test_what_masks_leave_alone_is_said(
    rehearse: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    rehearse(
        "method=one_shot",
        "model=lenet_300_100",
        "model._target_=strange_models.spare",
        "sparsity=0.5",
    )
    said = capsys.readouterr().err
    assert "prunable: 649 of" in said
    assert "mix  4,096" in said
    assert "does not use them: spare.weight" in said
