"""Training in condensed form is training the dense layer under its mask."""

import torch
import torch.nn.functional as F

from sparsekit.inference.layers import SparseConv2d, SparseLinear
from sparsekit.inference.rows import sparse_rows
from sparsekit.inference.training import Trained


def trained(condensed, dense, mask, run, x):
    """Three steps of SGD with momentum for each, and their losses."""
    losses = []
    for parameters, call in ((list(condensed.parameters()), condensed), (dense, run)):
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            loss = call(x).square().mean()
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
            with torch.no_grad():
                dense[0].mul_(mask)
    return losses


def check(layer, weight, mask, run, x):
    condensed = Trained(layer)
    dense = [(weight * mask).requires_grad_(), layer.bias.clone().requires_grad_()]
    losses = trained(condensed, dense, mask, lambda x: run(x, *dense).relu(), x)
    torch.testing.assert_close(losses[:3], losses[3:])
    assert condensed.values.shape == (int(mask.sum()),)
    found = condensed.sparse()
    torch.testing.assert_close(found.rows.dense().view_as(weight), dense[0].detach())
    torch.testing.assert_close(found(x), condensed(x).detach(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(found.rows.values, layer.rows.values)


def test_linear_layers():
    torch.manual_seed(0)
    weight, mask = torch.randn(6, 9), torch.rand(6, 9) < 0.4
    mask[2] = False
    layer = SparseLinear(sparse_rows(weight, mask), torch.randn(6), activation="relu")
    check(layer, weight, mask, F.linear, torch.randn(5, 9))


def test_convolutions():
    torch.manual_seed(0)
    weight = torch.randn(6, 2, 3, 3)
    mask = torch.rand_like(weight) < 0.4
    layer = SparseConv2d(
        sparse_rows(weight, mask), torch.randn(6), kernel_size=(3, 3), stride=(2, 1),
        padding=(1, 1), groups=2, activation="relu",
    )  # fmt: skip

    def run(x, weight, bias):
        return F.conv2d(x, weight, bias, (2, 1), (1, 1), (1, 1), 2)

    check(layer, weight, mask, run, torch.randn(3, 4, 6, 6))
