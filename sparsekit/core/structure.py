"""What masks look like to the hardware and to the network: rows, and weights per row."""

from typing import Any

from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.types import Masks


def structure(masks: Masks) -> dict[str, dict[str, Any]]:
    """Return the numbers of weights and neurons of each layer and what they keep, as plain data.

    A neuron is a row of the mask: an output of a linear layer, a filter of a convolution. Weights
    that are stored inputs first are shown by `layout.outputs_first` before they come here. It is
    active if it keeps a weight. `fan_in` is [fewest, most] weights of an active neuron: the two
    are equal under constant fan-in; [0, 0] if no neuron is active.

    >>> import torch
    >>> structure({"a": torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0]]).bool()})["a"]
    {'size': 9, 'kept': 3, 'active_neurons': 2, 'neurons': 3, 'fan_in': [1, 2]}
    """
    return {name: _of_layer(mask) for name, mask in masks.items()}


def _of_layer(mask: Tensor) -> dict[str, Any]:
    per_row: list[int] = selection.rows(mask).sum(dim=1).tolist()
    active = [num for num in per_row if num > 0]
    return {
        "size": mask.numel(),
        "kept": sum(active),
        "active_neurons": len(active),
        "neurons": len(per_row),
        "fan_in": [min(active), max(active)] if active else [0, 0],
    }


def emptied_neurons(before: Masks, after: Masks) -> dict[str, dict[str, int]]:
    """Return of each layer how many neurons kept nothing `before`, how many came to keep nothing,
    which is what ablation does, and how many came to keep something: `dead`, `ablated`, `revived`.

    >>> import torch
    >>> before, after = ([[1, 0], [1, 1], [0, 0]], [[1, 1], [0, 0], [0, 0]])
    >>> emptied_neurons({"a": torch.tensor(before).bool()}, {"a": torch.tensor(after).bool()})["a"]
    {'dead': 1, 'ablated': 1, 'revived': 0}
    """
    found = {}
    for name, mask in before.items():
        was = selection.rows(mask).any(dim=1)
        now = selection.rows(after[name]).any(dim=1).to(was.device)
        found[name] = {
            "dead": selection.count(~was),
            "ablated": selection.count(was & ~now),
            "revived": selection.count(now & ~was),
        }
    return found
