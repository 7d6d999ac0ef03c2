"""A fit whose weights are pulled by a penalty, beside the gradient of the loss."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import Parameter

from sparsekit.core.layout import as_stored, outputs_first
from sparsekit.core.types import Masks, Penalty, State, Weights
from sparsekit.models.layers import transposed_groups


class Penalised:
    """Applies `penalty` to the parameters of `model`, in place.

    Not a module. Its targets follow from the state and masks that the fit started from, which a
    resumed fit reads again: there is nothing to save.
    """

    def __init__(
        self, model: nn.Module, penalty: Penalty, start: State, masks: Masks, *, num_steps: int
    ) -> None:
        self.model = model
        self.penalty = penalty
        self.num_steps = num_steps
        self.transposed = transposed_groups(model)
        weights = {name: start[name] for name in self._parameters()}
        self.targets = penalty.targets(
            outputs_first(weights, self.transposed), outputs_first(masks, self.transposed)
        )

    @torch.no_grad()
    def add_(self, step: int, rate: float) -> None:
        """Add the gradient of the penalty to that of the loss, where a parameter has one."""
        parameters, rows = self._parameters(), self._rows()
        added = self.penalty.gradients(
            rows, self.targets, step=step, num_steps=self.num_steps, rate=rate
        )
        for name, term in as_stored(added, self.transposed).items():
            gradient = parameters[name].grad
            if gradient is not None:
                gradient.add_(term)

    @torch.no_grad()
    def shrink_(self, step: int, rate: float) -> None:
        """Replace weights, after the optimizer's step, by what the penalty leaves of them."""
        parameters, rows = self._parameters(), self._rows()
        left = self.penalty.shrink(
            rows, self.targets, step=step, num_steps=self.num_steps, rate=rate
        )
        for name, value in as_stored(left, self.transposed).items():
            parameters[name].copy_(value)

    def _parameters(self) -> dict[str, Parameter]:
        return dict(self.model.named_parameters())

    def _rows(self) -> Weights:
        parameters = self._parameters()
        self.targets = {n: t.to(parameters[n].device) for n, t in self.targets.items()}
        detached = {name: parameter.detach() for name, parameter in parameters.items()}
        return outputs_first(detached, self.transposed)
