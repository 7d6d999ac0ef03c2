"""The in-memory data set: what a batch is, and that it depends on its place alone."""

import dataclasses
from functools import partial

import pytest
import torch

from sparsekit.data.augment import cutout, random_crop, random_flip
from sparsekit.data.memory import InMemory, Split, channel_statistics, held_out

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def random_split(num: int, *, seed: int, size: int = 8) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num, 3, size, size), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 10, (num,), generator=generator))


def make(*, augment=(), num_train: int = 50, size: int = 8) -> InMemory:
    return InMemory(
        name="noise",
        num_classes=10,
        train=random_split(num_train, seed=0, size=size),
        val=random_split(7, seed=1, size=size),
        test=random_split(9, seed=2, size=size),
        mean=MEAN,
        std=STD,
        augment=augment,
    )


AUGMENTED = (partial(random_crop, padding=2), random_flip, partial(cutout, size=3))


def batches(data: InMemory, **options) -> list[tuple[torch.Tensor, torch.Tensor]]:
    arguments = {"batch_size": 12, "seed": 5, "epoch": 3, "device": CPU} | options
    return list(data.train_batches(**arguments))


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("augment", [(), AUGMENTED])
def test_batches_depend_on_seed_epoch_and_index_alone(augment):
    data = make(augment=augment)
    whole = batches(data)
    assert len(whole) == 4
    assert whole[0][0].shape == (12, 3, 8, 8)
    assert whole[0][0].dtype == torch.float32
    torch.rand(3)
    assert same(whole, batches(data))
    for first in range(5):
        assert same(whole[first:], batches(data, first=first))
    assert not same(whole, batches(data, epoch=4))
    assert not same(whole, batches(data, seed=6))


@pytest.mark.parametrize("augment", [(), AUGMENTED])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_see_the_batch_of_one_process(augment, world_size):
    data = make(augment=augment)
    parts = [batches(data, rank=rank, world_size=world_size) for rank in range(world_size)]
    joined = [
        (torch.cat([images for images, _ in step]), torch.cat([labels for _, labels in step]))
        for step in zip(*parts, strict=True)
    ]
    assert same(joined, batches(data))


def test_training_pairs_each_image_with_its_label_once():
    data = make(num_train=48)
    images, labels = (torch.cat(column) for column in zip(*batches(data), strict=True))
    (everything, all_labels) = next(data.eval_batches("train", batch_size=48, device=CPU))
    matches = (images[:, None] == everything[None]).flatten(2).all(2)
    assert matches.sum(0).tolist() == [1] * 48
    assert torch.equal(matches.long() @ all_labels, labels)


def test_augmentation_changes_from_epoch_to_epoch_but_not_evaluation():
    data = make(augment=AUGMENTED)
    train = next(data.eval_batches("train", batch_size=50, device=CPU))[0]
    plain = next(make().eval_batches("train", batch_size=50, device=CPU))[0]
    assert torch.equal(train, plain)
    assert not torch.equal(batches(data)[0][0], batches(make())[0][0])


def test_evaluation_is_normalised_ordered_and_complete():
    data = make()
    found = list(data.eval_batches("test", batch_size=4, device=CPU))
    assert [len(labels) for _, labels in found] == [4, 4, 1]
    images, labels = (torch.cat(column) for column in zip(*found, strict=True))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(images, (data.test.images / 255 - mean) / std)
    assert torch.equal(labels, data.test.labels)


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    batches(make(augment=AUGMENTED))
    assert torch.equal(before, torch.get_rng_state())


def test_fingerprint_changes_with_one_pixel_one_label_or_the_splits():
    data = make()
    pixels, labels = data.val.images.clone(), data.val.labels.clone()
    pixels[3, 1, 2, 2] ^= 1
    labels[0] = (labels[0] + 1) % 10
    others = [
        dataclasses.replace(data, val=Split(pixels, data.val.labels)),
        dataclasses.replace(data, val=Split(data.val.images, labels)),
        dataclasses.replace(data, val=data.test, test=data.val),
    ]
    assert make().fingerprint() == data.fingerprint()
    assert dataclasses.replace(data, augment=AUGMENTED).fingerprint() == data.fingerprint()
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_the_example_is_what_a_batch_holds():
    data = make()
    images, _ = batches(data)[0]
    assert data.example().shape == (1, *images.shape[1:])
    assert data.example().dtype == images.dtype
    assert data.num_outputs == 10


def test_images_move_to_a_device_once():
    data = make()
    meta = torch.device("meta")
    assert next(data.eval_batches("val", batch_size=3, device=meta))[0].device == meta
    moved = data._resident("val", meta)
    assert data._resident("val", meta) is moved


def test_statistics_are_those_of_the_pixels():
    images = random_split(20, seed=0).images
    mean, std = channel_statistics(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist())
    assert std == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist())
    assert channel_statistics(torch.zeros(2, 1, 3, 3, dtype=torch.uint8))[1] == (1 / 255,)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            lambda: Split(torch.zeros(2, 1, 3, 3), torch.zeros(2).long()),
            "uint8.*TensorData",
        ),
        (lambda: Split(make().val.images, torch.zeros(3).long()), r"int64 \[7\]"),
        (lambda: dataclasses.replace(make(), mean=(0.5,)), "needs 3 of each"),
        (lambda: dataclasses.replace(make(), std=(0.1, 0.0, 0.1)), "std above 0"),
        (lambda: dataclasses.replace(make(), num_classes=5), r"0 \.\. 4"),
        (lambda: dataclasses.replace(make(), val=random_split(2, seed=0, size=9)), "shapes"),
        (lambda: make().train_batches(batch_size=51, seed=0, epoch=0, device=CPU), "51"),
        (
            lambda: make().train_batches(
                batch_size=10, seed=0, epoch=0, rank=0, world_size=4, device=CPU
            ),
            "world_size=4",
        ),
        (lambda: make().eval_batches("valid", batch_size=2, device=CPU), "train, val, test"),
        (lambda: make().eval_batches("val", batch_size=0, device=CPU), "batch_size=0"),
        (
            lambda: dataclasses.replace(make(), val=random_split(0, seed=0)).eval_batches(
                "val", batch_size=2, device=CPU
            ),
            "num_val",
        ),
    ],
)
def test_mistakes_raise_at_once(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_fewer_images_to_train_leave_the_validation_split_as_it_is():
    everything = Split(torch.zeros(60, 1, 2, 2, dtype=torch.uint8), torch.arange(60) % 10)
    everything.images[:, 0, 0, 0] = torch.arange(60, dtype=torch.uint8)
    train, val = held_out(everything, num_val=10, seed=1)
    fewer, same_val = held_out(everything, num_val=10, seed=1, num_train=20)
    assert torch.equal(val.images, same_val.images)
    assert fewer.labels.bincount().tolist() == [2] * 10
    assert set(fewer.images[:, 0, 0, 0].tolist()) < set(train.images[:, 0, 0, 0].tolist())
    everything_left, _ = held_out(everything, num_val=10, seed=1, num_train=50)
    assert torch.equal(everything_left.images, train.images)
    for wrong in (0, 51):
        with pytest.raises(ValueError, match=f"num_train={wrong}: .* at most 50"):
            held_out(everything, num_val=10, seed=1, num_train=wrong)
