"""Convolutions whose inputs or outputs fill more than the nearest caches."""

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference.convolving import plan
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


SETTINGS = {
    "1x1": ((1, 1), {}),
    "3x3": ((3, 3), {"padding": (1, 1)}),
    "stride": ((3, 3), {"stride": (2, 2), "padding": (1, 1)}),
    "groups": ((3, 3), {"padding": (1, 1), "groups": 2}),
}
"""Kernel sizes and settings of convolutions."""


def convolution(setting, out):
    """Return a convolution of many inputs, its dense weight, and the options of F.conv2d."""
    kernel, options = SETTINGS[setting]
    torch.manual_seed(0)
    weight = torch.randn(out, 640 // options.get("groups", 1), *kernel)
    mask = torch.rand_like(weight) < 0.3
    mask[0] = False
    layer = SparseConv2d(
        sparse_rows(weight, mask), torch.randn(out), kernel_size=kernel, activation="relu",
        **options,
    )  # fmt: skip
    return layer, weight * mask, options


def blocks(kernels, layer, n, height, width):
    """Return in how many blocks the inputs of a convolution are multiplied."""
    return plan(kernels, layer.rows, layer.shape, (n, height, width)).weight.addresses[-1]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("n", "height", "width"), [(1, 3, 230), (5, 4, 47), (16, 3, 15), (3, 5, 5)]
)
def test_inputs_in_blocks(kernels, setting, n, height, width):
    """Columns that fill no vectors are computed twice, but added up once; bands are not full."""
    layer, weight, options = convolution(setting, out=140)
    if kernels is not None and width > 5:
        several = setting != "groups" and kernels.level != "portable"
        assert (blocks(kernels, layer, n, height, width) > 1) == several
    x = torch.randn(n, 640, height, width)
    expected = F.conv2d(x, weight, layer.bias, **options)
    residual = torch.randn_like(expected)
    assert torch.allclose(layer(x), expected.relu(), atol=2e-4)
    assert torch.allclose(layer(x, residual), (expected + residual).relu(), atol=2e-4)


@pytest.mark.parametrize("setting", SETTINGS)
def test_blocks_in_several_threads_give_the_same_bits(kernels, setting):
    """Three bands of rows for few tiles of columns, which threads share by rows."""
    if kernels is None:
        pytest.skip("PyTorch decides itself how it splits work")
    layer, _, _ = convolution(setting, out=300)
    x, residual, found = torch.randn(1, 640, 1, 150), None, []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            residual = torch.ones_like(layer(x)) if residual is None else residual
            found.append(layer(x, residual))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_copies_with_borders_that_offsets_do_not_reach(kernels):
    if kernels is None:
        pytest.skip("PyTorch has no offsets")
    layer, _, _ = convolution("3x3", out=2)
    with pytest.raises(ValueError, match="20000 images of 14x14 with 640 channels are too many"):
        blocks(kernels, layer, 20000, 14, 14)
