"""A study: corruptions, with statistics of BatchNorm estimated anew on augmented training images.

Tickets that are averages have statistics of images that are not augmented, others those of their
training. On equal terms:

    PYTHONPATH=experiments/soups_cifar python -m sparsekit.study \
        '{_target_: augmented_corruptions.augmented_corruptions}' runs/named/soups_cifar
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from sparsekit.core.types import State
from sparsekit.method.robustness import corruptions
from sparsekit.method.studies import StudyInput
from sparsekit.training.evaluate import recalibrate_
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.problem import load_data


class OnEqualTerms(StudyInput):
    """What a study may look at, with the statistics of one augmented epoch."""

    def state(self, key: str) -> State:
        """Return the weights of a stage, pruned ones at zero, with those statistics."""
        assert isinstance(self.judge, NetworkJudge)
        data = load_data(self.judge.identity, self.judge.runtime.data_root)
        model = self.judge.model(super().state(key))
        cpu = torch.device("cpu")
        recalibrate_(model, data.train_batches(batch_size=500, seed=0, epoch=0, device=cpu))
        return {name: value.detach().cpu() for name, value in model.state_dict().items()}


def augmented_corruptions(asked: StudyInput) -> Mapping[str, Any]:
    """Measure the accuracy under corruptions on equal terms."""
    fields = {one.name: getattr(asked, one.name) for one in dataclasses.fields(asked)}
    return corruptions(OnEqualTerms(**fields))
