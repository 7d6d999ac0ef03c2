"""Order, slices and splits: functions of their arguments alone."""

import pytest
import torch

from sparsekit.data.order import epoch_order, global_batches, hashed_seed, rank_slice
from sparsekit.data.splits import split_indices


def test_seeds_and_orders_never_change():
    assert hashed_seed("order", 0, 0) == 8_584_573_943_422_389_118
    assert epoch_order(10, seed=0, epoch=0).tolist() == [6, 2, 9, 5, 1, 3, 8, 4, 7, 0]
    assert epoch_order(10, seed=0, epoch=1).tolist() != [6, 2, 9, 5, 1, 3, 8, 4, 7, 0]
    assert epoch_order(10, seed=1, epoch=0).tolist() != [6, 2, 9, 5, 1, 3, 8, 4, 7, 0]


def test_keys_are_not_confused_with_each_other():
    keys = [(0, 1), (1, 0), (11, 0), (1, 10), ("0", "1", "")]
    assert len({hashed_seed(*key) for key in keys}) == len(keys)


def test_batches_cover_each_image_once_and_drop_the_rest():
    batches = list(global_batches(50, batch_size=8, seed=3, epoch=2))
    assert [index for index, _ in batches] == list(range(6))
    seen = torch.cat([where for _, where in batches])
    assert torch.equal(seen, epoch_order(50, seed=3, epoch=2)[:48])
    assert len(set(seen.tolist())) == 48


def test_starting_later_is_skipping():
    whole = list(global_batches(50, batch_size=8, seed=3, epoch=2))
    for first in range(7):
        part = list(global_batches(50, batch_size=8, seed=3, epoch=2, first=first))
        assert [index for index, _ in part] == list(range(first, 6))
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(part, whole[first:], strict=True))


def test_slices_of_all_ranks_make_the_batch():
    parts = [rank_slice(12, rank=rank, world_size=4) for rank in range(4)]
    together = [index for part in parts for index in range(12)[part]]
    assert together == list(range(12))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: global_batches(7, batch_size=8, seed=0, epoch=0), "batch_size=8"),
        (lambda: global_batches(7, batch_size=0, seed=0, epoch=0), "batch_size=0"),
        (lambda: global_batches(7, batch_size=3, seed=0, epoch=0, first=3), "2 batches"),
        (lambda: rank_slice(10, rank=0, world_size=4), "world_size=4"),
        (lambda: rank_slice(8, rank=4, world_size=4), "rank=4"),
        (lambda: split_indices(torch.zeros(5).long(), num_val=5, seed=0), "num_val=5"),
        (lambda: split_indices(torch.zeros(5).long(), num_val=-1, seed=0), "num_val=-1"),
    ],
)
def test_mistakes_raise_at_once(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_split_is_disjoint_complete_sorted_and_seeded():
    labels = torch.arange(100) % 10
    train, val = split_indices(labels, num_val=20, seed=42)
    assert torch.cat([train, val]).sort().values.tolist() == list(range(100))
    assert torch.equal(train, train.sort().values)
    assert labels[val].bincount().tolist() == [2] * 10
    assert torch.equal(val, split_indices(labels, num_val=20, seed=42)[1])
    assert not torch.equal(val, split_indices(labels, num_val=20, seed=43)[1])


@pytest.mark.parametrize(
    ("sizes", "num_val", "expected"),
    [
        ([6, 3, 1], 5, [3, 2, 0]),
        ([5, 5, 5], 4, [2, 1, 1]),
        ([1, 9], 1, [0, 1]),
        ([4, 0, 4], 4, [2, 0, 2]),
        ([4, 4], 0, [0, 0]),
    ],
)
def test_split_is_stratified_by_largest_remainder(sizes, num_val, expected):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    _, val = split_indices(labels, num_val=num_val, seed=0)
    assert labels[val].bincount(minlength=len(sizes)).tolist() == expected
