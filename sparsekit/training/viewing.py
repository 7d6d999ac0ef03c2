"""A network seen through a view: forward passes see the view, the optimizer keeps the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import Parameter
from torch.optim import Optimizer

from sparsekit.core.layout import as_stored, outputs_first
from sparsekit.core.types import Masks, State, View, Weights
from sparsekit.models.layers import transposed_groups


class ViewedNetwork:
    """Calls `model` with what `view` shows of its weights at `step`, which its owner counts.

    Not a module, and nothing is reparametrised: state-dict keys stay as they are, and hold the
    weights that the optimizer keeps. `masks` are those that the fit started from. The view is given
    an output in every row, also of weights that are stored inputs first.
    """

    def __init__(self, model: nn.Module, view: View, masks: Masks, *, compiled: bool) -> None:
        self.model = model
        self.view = view
        self.masks = masks
        self.transposed = transposed_groups(model)
        self.step = 0
        self.seen: Weights = {}
        self._call = torch.compile(_call) if compiled else _call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        weights = self._weights()
        rows = outputs_first(weights, self.transposed)
        seen = self.view.view(rows, self._masks(weights), self.step)
        self.seen = as_stored(seen, self.transposed)
        return self._call(self.model, self.seen, args, kwargs)

    @torch.no_grad()
    def pull_(self, optimizer: Optimizer) -> None:
        """Add what the view pulls to the gradients, or subtract it from the weights themselves.

        As the optimizer does with weight decay: coupled through the gradient (SGD, Adam), or
        decoupled, times the learning rate (AdamW). Called once per step, after its last backward
        pass, whatever the number of pieces of its batch.
        """
        weights = self._weights()
        rows = outputs_first(weights, self.transposed)
        seen = outputs_first(self.seen, self.transposed)
        pulled = as_stored(self.view.pull(rows, seen, self.step), self.transposed)
        add_to_gradients_(optimizer, {name: (weights[name], one) for name, one in pulled.items()})

    @contextmanager
    def projected(self) -> Iterator[Masks]:
        """Put what would be published in the place of the weights, and give its masks; put the
        weights back, to the bit, at the end."""
        weights = self._weights()
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        rows = outputs_first(before, self.transposed)
        shown, masks = self.view.project(rows, self._masks(weights))
        _copy_(weights, as_stored(shown, self.transposed))
        try:
            yield as_stored(masks, self.transposed)
        finally:
            _copy_(weights, before)

    def published(self) -> tuple[State, Masks]:
        """Return the state of the network as it is published, and its masks, on the CPU."""
        with self.projected() as masks:
            state = {name: t.detach().cpu().clone() for name, t in self.model.state_dict().items()}
        return state, {name: mask.cpu() for name, mask in masks.items()}

    def _weights(self) -> dict[str, Parameter]:
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name] for name in self.masks}

    def _masks(self, weights: Mapping[str, Parameter]) -> Masks:
        """Return the masks on the device of the weights, an output in every row."""
        self.masks = {name: mask.to(weights[name].device) for name, mask in self.masks.items()}
        return outputs_first(self.masks, self.transposed)


def add_to_gradients_(optimizer: Optimizer, terms: Mapping[str, tuple[Parameter, Tensor]]) -> None:
    """Add a term to the gradient of each parameter, or take it off the parameter, times its rate,
    where the optimizer decouples weight decay from the gradient. Parameters without a gradient are
    not updated in this step and are left alone."""
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    for parameter, term in terms.values():
        group = groups.get(parameter)
        if parameter.grad is None or group is None:
            continue
        if group.get("decoupled_weight_decay", False):
            parameter.sub_(term * group["lr"])
        else:
            parameter.grad.add_(term)


@torch.no_grad()
def _copy_(weights: Mapping[str, Parameter], values: Weights) -> None:
    for name, value in values.items():
        weights[name].copy_(value)


def _call(model: nn.Module, seen: Weights, args: Any, kwargs: Any) -> Any:
    return functional_call(model, seen, args, kwargs)
