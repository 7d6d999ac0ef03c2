"""Pools of ours are those of PyTorch, in the layouts of sparse and of dense layers."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference.pooling import adaptive_avg_pool2d, max_pool2d

CASES = [
    case for case in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2)) if 2 * case[2] <= case[0]
]


@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_pools_in_every_layout(kernel, stride, padding):
    for size in (5, 6, 7, 8):
        x = torch.randn(3, 2, size, size + 1)
        x[0, 0, 0, 0] = float("nan")
        samples_last = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
        expected = F.max_pool2d(x, kernel, stride, padding)
        for one in (x, samples_last, x.contiguous(memory_format=torch.channels_last)):
            found = max_pool2d(one, [kernel, kernel], [stride, stride], [padding, padding])
            assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))


def test_samples_stay_last():
    x = torch.randn(4, 6, 6, 3).permute(3, 0, 1, 2)
    found = max_pool2d(x, [3, 3], [2, 2], [1, 1])
    assert found.stride()[:1] + found.stride()[2:] == (1, 9, 3)


def test_pools_of_other_kinds_are_pytorchs():
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(max_pool2d(x, [3], [2], [1], [1], True), F.max_pool2d(x, 3, 2, 1, 1, True))
    assert torch.equal(max_pool2d(x, [2], [], [0], [2]), F.max_pool2d(x, 2, dilation=2))
    assert torch.equal(max_pool2d(x, [9], [1], [4]), F.max_pool2d(x, 9, 1, 4))
    with pytest.raises(RuntimeError):
        max_pool2d(x, [0, 0], [1, 1])


@pytest.mark.parametrize("size", [[1, 1], [2, 2]])
@pytest.mark.parametrize("n", [1, 3, 16])
def test_averages_in_every_layout(n, size):
    x = torch.randn(n, 5, 6, 4)
    samples_last = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    expected = F.adaptive_avg_pool2d(x, size)
    for one in (x, samples_last, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(adaptive_avg_pool2d(one, size), expected)
