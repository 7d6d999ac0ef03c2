"""A study: the ticket with statistics of BatchNorm estimated anew on augmented training images.

Tickets that are averages have statistics of images that are not augmented. Networks that were not
averaged keep those of their training, whose images were. On equal terms:

    PYTHONPATH=experiments/averaging_cifar python -m sparsekit.study \
        '{_target_: augmented_statistics.augmented_statistics}' runs/named/averaging_cifar --every
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparsekit.method.studies import StudyInput
from sparsekit.training.evaluate import recalibrate_
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.problem import load_data


def augmented_statistics(asked: StudyInput, *, batch_size: int = 500) -> Mapping[str, Any]:
    """Measure the ticket with the statistics of one augmented epoch."""
    judge = asked.judge
    if not isinstance(judge, NetworkJudge):
        raise TypeError(f"{type(judge).__name__} does not say where its data are")
    data = load_data(judge.identity, judge.runtime.data_root)
    model = judge.model(asked.state(asked.ticket))
    batches = data.train_batches(batch_size=batch_size, seed=0, epoch=0, device=torch.device("cpu"))
    recalibrate_(model, batches)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return judge.measure([state])
