"""The hand-written digits that come with scikit-learn: real data without a file or a download."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sparsekit.data.memory import InMemory, Split, channel_statistics, held_out
from sparsekit.data.types import Augment


def digits(
    root: Path,
    *,
    num_val: int = 180,
    num_test: int = 360,
    split_seed: int = 42,
    augment: Sequence[Augment] = (),
) -> InMemory:
    """1,797 grey digits of 8x8 pixels in 10 classes; test and validation drawn by `split_seed`.

    The set has no test split of its own, so both are class-stratified draws. Its 17 grey levels
    are scaled to 0 .. 255; mean and standard deviation are those of the training split. `root` is
    not read.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    pixels = torch.from_numpy(source.images).unsqueeze(1)
    images = (pixels * (255 / 16)).round().to(torch.uint8)
    everything = Split(images, torch.from_numpy(source.target).long())
    rest, test = held_out(everything, num_val=num_test, seed=split_seed)
    train, val = held_out(rest, num_val=num_val, seed=split_seed)
    mean, std = channel_statistics(train.images)
    return InMemory("digits", 10, train, val, test, mean=mean, std=std, augment=tuple(augment))
