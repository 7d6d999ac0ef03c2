"""The hand-written digits that come with scikit-learn: real data without a file or a download."""

from collections.abc import Sequence
from pathlib import Path

import torch

from sparsekit.data.memory import InMemory, Split, channel_statistics, held_out, only
from sparsekit.data.packaged import digits_table
from sparsekit.data.types import Augment


def digits(
    root: Path,
    *,
    num_val: int = 180,
    num_test: int = 360,
    split_seed: int = 42,
    augment: Sequence[Augment] = (),
    classes: Sequence[int] | None = None,
) -> InMemory:
    """Load 1,797 grey digits of 8x8 pixels in 10 classes; `split_seed` draws test and validation.

    The set has no test split of its own, so both are class-stratified draws. Its 17 grey levels
    are scaled to 0 .. 255; mean and standard deviation are those of the training split. `root` is
    not read. `classes`: only these digits, numbered in the order given; None: all ten. ValueError
    for a digit that does not exist, or is named twice.
    """
    pixels, numbers = map(torch.from_numpy, digits_table())
    labels = numbers.long()
    images = (pixels.unsqueeze(1) * (255 / 16)).round().to(torch.uint8)
    everything = Split(images, labels)
    if classes is None:
        classes = range(10)
    else:
        everything = only(classes, everything, num_classes=10)
    rest, test = held_out(everything, num_val=num_test, seed=split_seed)
    train, val = held_out(rest, num_val=num_val, seed=split_seed)
    mean, std = channel_statistics(train.images)
    return InMemory(
        "digits", len(classes), train, val, test, mean=mean, std=std, augment=tuple(augment)
    )
