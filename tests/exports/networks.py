"""Stored networks to be exported, with weights and masks drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsekit.core.patterns import n_of_m
from sparsekit.core.types import Masks
from sparsekit.models.lenet import lenet_5, mlp
from sparsekit.models.prunable import prunable
from sparsekit.networks.network import Network
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.store.tensors import save_network
from tests.networks.networks import drawn_state, network


class Tied(nn.Module):
    """An embedding whose weight is that of the head."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(num_tokens, 8), nn.Linear(8, num_tokens)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return as many numbers per token as there are tokens."""
        return self.head(self.embedding(tokens))


def tied(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Build it."""
    return Tied(num_outputs)


TIED = network(tied, 6, dtype="int64")
MLP = network(mlp, 1, 8, 8)
CNN = network(lenet_5, 1, 28, 28)


def drawn_masks(of: Network, density: float) -> Masks:
    """Masks of the prunable weights, unstructured, with an empty row in each but the last."""
    model = of.build()
    generator = torch.Generator().manual_seed(1)
    names = list(prunable(model, of.example()))
    shapes = {name: model.get_parameter(name).shape for name in names}
    masks = {name: torch.rand(shapes[name], generator=generator) < density for name in names}
    for name in names[:-1]:
        masks[name][1] = False
    return masks


def two_four_masks(of: Network) -> Masks:
    """Masks of which every group keeps two of four."""
    shapes = {name: mask.shape for name, mask in drawn_masks(of, 1.0).items()}
    scores = {name: torch.rand(shape) for name, shape in shapes.items()}
    return {name: n_of_m(one, one.numel() // 2, n=2, m=4) for name, one in scores.items()}


def publish(store: Store, of: Network, masks: Masks, name: str) -> str:
    """Publish a network as a ticket; return its key."""
    state, record = drawn_state(of, shifts=True), of.record()
    stage = Stage("ticket", {"network": record, "name": name})
    return store.ensure(
        stage, lambda folder: save_network(folder, state=state, masks=masks, network=record)
    )
