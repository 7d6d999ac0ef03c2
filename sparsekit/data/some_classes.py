"""A few classes of another data set, such as the halves between which a network is transferred."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sparsekit.data.memory import InMemory, only


def some_classes(root: Path, *, of: Callable[[Path], InMemory], classes: Sequence[int]) -> InMemory:
    """Keep `classes` of the data set that `of` reads, numbered in the order given.

    The splits are those of the whole set, so its `num_train` and `num_val` count images of all
    classes, and no image of one half is in another split of the other. Mean and standard
    deviation stay those of the whole set.

    ValueError for a class that does not exist, or is named twice, and for a data set that is not
    held in memory.
    """
    whole = of(root)
    if not isinstance(whole, InMemory):
        raise ValueError(f"data.of: expected a data set in memory, got {type(whole).__name__}")
    num_classes = whole.num_classes
    train, val, test = (
        only(classes, split, num_classes=num_classes)
        for split in (whole.train, whole.val, whole.test)
    )
    return replace(whole, num_classes=len(classes), train=train, val=val, test=test)
