"""Pairs of scikit-learn's digits: images with one or two labels each, without a file."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sparsekit.data.digits import digits
from sparsekit.data.memory import Split
from sparsekit.data.order import keyed_generator
from sparsekit.data.tensors import Examples, TensorData


def digit_pairs(root: Path, *, pairs_per_digit: int = 4, split_seed: int = 42) -> TensorData:
    """Put two hand-written digits side by side; the labels are the digits that are in the image.

    Images float32 [1, 8, 16], pixels from -1 to 1; targets float32 [10] of 0 and 1: two labels, or
    one if a digit is there twice. Every image of `digits` is on the left of
    `pairs_per_digit` pairs, beside images of its own split drawn by `split_seed`, so that no image
    is in two splits: 5,028 training pairs. `root` is not read.

    Raises ValueError unless pairs_per_digit is at least 1.
    """
    if pairs_per_digit < 1:
        raise ValueError(f"pairs_per_digit={pairs_per_digit}: must be at least 1")
    source = digits(root, split_seed=split_seed)
    train, val, test = (
        _paired(split, times=pairs_per_digit, key=f"{name} {split_seed}")
        for name, split in (("train", source.train), ("val", source.val), ("test", source.test))
    )
    return TensorData("digit_pairs", 10, train, val, test)


def _paired(split: Split, *, times: int, key: str) -> Examples:
    num = len(split.labels)
    left = torch.arange(num).repeat(times)
    generator = keyed_generator("pairs", key)
    right = torch.cat([torch.randperm(num, generator=generator) for _ in range(times)])
    pixels = torch.cat([split.images[left], split.images[right]], dim=3)
    return Examples(pixels.float() / 127.5 - 1, _either(split.labels[left], split.labels[right]))


def _either(one: Tensor, other: Tensor) -> Tensor:
    return (one_hot(one, 10) | one_hot(other, 10)).float()
