"""What a stored network answers on a split: computed once, and kept for every study that asks.

A stage of its own, made from the network alone. No record names it, because it can be computed
again: it is a cache that garbage collection empties.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsekit.core.prune import apply
from sparsekit.method.judge import Judge, SplitName
from sparsekit.method.studies import CannotStudy
from sparsekit.networks.network import stored_network
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network, load_tensors, save_tensors

Split = SplitName
OUTPUTS_VERSION = 1
FILE = "outputs.safetensors"
NEEDS_CLASSES = "needs a classification: one class per example, and logits for it"


def classes_of(judge: Judge) -> Callable[[Any], Tensor]:
    """Return what tells the classes of targets; CannotStudy without logits of them."""
    task = judge.identity.task()
    if task.classes is None or task.soften is None:
        raise CannotStudy(NEEDS_CLASSES)
    found: Callable[[Any], Tensor] = task.classes
    return found


def logits_of(key: str, split: Split, *, judge: Judge, store: Store) -> tuple[Tensor, Tensor]:
    """Return logits float32 [N, C] of the network `key` and classes int64 [N], on the CPU.

    CannotStudy, before anything is computed, where the task has no classes; also for outputs that
    are not logits [B, C], or not all finite.
    """
    classes = classes_of(judge)
    stage = Stage(
        "outputs",
        {"problem": judge.identity, "split": split},
        inputs=(key,),
        version=OUTPUTS_VERSION,
    )

    def compute(folder: Path) -> None:
        state = apply(*load_network(store, key))
        answers, targets = [], []
        for outputs, given in judge.on(stored_network(store, key)).outputs(state, split):
            if not isinstance(outputs, Tensor) or outputs.ndim != 2:
                raise CannotStudy(f"needs logits [B, C], not {_shape(outputs)}")
            answers.append(outputs.float().cpu())
            targets.append(classes(given).cpu())
        found = {"logits": torch.cat(answers), "classes": torch.cat(targets)}
        save_tensors(found, folder / FILE)

    found = load_tensors(store, store.ensure(stage, compute), FILE, ("logits", "classes"))
    if not bool(found["logits"].isfinite().all()):
        raise CannotStudy("the network's outputs are not all finite")
    return found["logits"], found["classes"]


def _shape(outputs: Any) -> Any:
    return list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
