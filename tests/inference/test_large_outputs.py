"""Convolutions whose outputs fill more than the nearest caches."""

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference.layers import SparseConv2d
from sparsekit.inference.rows import sparse_rows


@pytest.mark.parametrize("with_residual", [False, True])
def test_outputs_of_more_than_a_mebibyte(kernels, with_residual):
    """75 rows are no multiple of those fetched at a time; 3757 columns fill no vectors."""
    torch.manual_seed(0)
    weight = torch.randn(75, 6, 1, 1)
    mask = torch.rand_like(weight) < 0.4
    layer = SparseConv2d(
        sparse_rows(weight, mask), torch.randn(75), kernel_size=(1, 1), activation="relu"
    )
    x = torch.randn(13, 6, 17, 17)
    added = torch.randn(13, 75, 17, 17) if with_residual else None
    expected = F.conv2d(x, weight * mask, layer.bias) + (0 if added is None else added)
    assert torch.allclose(layer(x, added), expected.relu(), atol=1e-4)
