"""Everything that can fail for a wrong value, tried before the first training step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparsekit import config
from sparsekit.core.counts import budget
from sparsekit.core.types import Masks
from sparsekit.method.cycle import Method
from sparsekit.training.course import Course, plan_course
from sparsekit.training.judge import TaskJudge, device_of
from sparsekit.training.settings import Train
from sparsekit.training.task import build_model, dense_masks, load_data


def rehearse(method: Method, settings: Mapping[str, Any], judge: TaskJudge) -> str:
    """Load the data, build model and optimizer, plan every cycle, prune once to the last budget.

    Returns the table of layers. Raises ValueError, TypeError or OSError for what would fail later.
    """
    data = load_data(settings["task"], judge.runtime.data_root)
    with torch.random.fork_rng():
        model = build_model(settings["task"], data)
    masks = dense_masks(settings["task"], model)
    train: Train = config.build(settings["train"])
    if train.precision == "16-mixed" and device_of(judge.runtime).type == "cpu":
        raise ValueError("train.precision=16-mixed needs a GPU; the CPU has bf16-mixed")
    cycles = list(method.plan())
    for cycle in cycles:
        for variation in cycle.variations:
            asked = cycle.settings(variation, settings)
            course = plan_course(asked, data, {"norm_drop": 0.5, "fraction": 0.5})
            _check_learning_rates(course)
            config.build(asked["train"]).optimizer(list(model.named_parameters()))
        if cycle.mover is not None:
            cycle.mover.rehearse(model.state_dict(), masks, course.last)
    with torch.no_grad():
        model.eval()(next(data.eval_batches("val", batch_size=2, device=torch.device("cpu")))[0])
    last = cycles[-1]
    state = model.state_dict()
    weights = {name: state[name] for name in masks}
    if last.prune is not None:
        num_kept = budget(sum(mask.numel() for mask in masks.values()), last.sparsity)
        last.prune(weights, masks, judge.probe(state), num_kept=num_kept)
    return layer_table(model, masks)


def _check_learning_rates(course: Course) -> None:
    for step in sorted({course.first, (course.first + course.last) // 2, course.last - 1}):
        rate = course.learning_rate(step)
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(f"the schedule gives the learning rate {rate} at step {step}")


def layer_table(model: nn.Module, masks: Masks) -> str:
    """One line per prunable weight, and what is left alone."""
    total = sum(p.numel() for p in model.parameters())
    prunable = sum(mask.numel() for mask in masks.values())
    width = max(len(name) for name in masks)
    lines = [f"prunable: {prunable:,} of {total:,} parameters"]
    for name, mask in masks.items():
        shape = "x".join(str(size) for size in mask.shape)
        lines.append(f"  {name:<{width}}  {shape:>16}  {mask.numel():>11,}")
    return "\n".join(lines)
