"""Users' own data sets of PyTorch, read once or as they are needed."""

import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from sparsekit.data.torch_dataset import LazyData, torch_dataset

CPU = torch.device("cpu")
ROOT = Path("nowhere")


class Squares(Dataset):
    """Item i is ([i, i], i squared), with noise from every generator if it is asked for."""

    def __init__(self, num: int = 20, *, noise: bool = False) -> None:
        self.num = num
        self.noise = noise

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int):
        drawn = [float(torch.rand(())), random.random(), np.random.rand()] if self.noise else []
        return np.array([index, index, *drawn], dtype=np.float64), index**2


class Unsized:
    def __getitem__(self, index: int):
        return 0.0, 0


class Stream(IterableDataset):
    def __iter__(self):
        yield 0.0, 0


class Given(Dataset):
    def __init__(self, item) -> None:
        self.item = item

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int):
        return self.item(index)


def make(train=Squares, **options):
    settings = {"name": "squares", "num_outputs": 400, "test": Squares, "num_val": 4} | options
    return torch_dataset(ROOT, train=train, **settings)


def lazy(train=Squares, **options) -> LazyData:
    return make(train, **({"in_memory": False, "version": "1"} | options))


def batches(data, **options):
    arguments = {"batch_size": 4, "seed": 5, "epoch": 3, "device": CPU} | options
    return list(data.train_batches(**arguments))


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("build", [make, lazy])
def test_items_become_float32_and_int64_batches(build):
    data = build()
    assert (data.num_train, data.num_outputs, data.name) == (16, 400, "squares")
    inputs, targets = batches(data)[0]
    assert (inputs.dtype, targets.dtype, inputs.shape) == (torch.float32, torch.int64, (4, 2))
    assert torch.equal(inputs[:, 0].long() ** 2, targets)
    assert data.example().shape == (1, 2)
    values = [
        value
        for split in ("train", "val")
        for x, _ in data.eval_batches(split, batch_size=3, device=CPU)
        for value in x[:, 0].tolist()
    ]
    assert sorted(values) == list(range(20))


def test_both_ways_of_reading_give_the_same_batches():
    assert same(batches(make()), batches(lazy()))
    for split in ("train", "val", "test"):
        one, other = (
            list(data.eval_batches(split, batch_size=3, device=CPU)) for data in (make(), lazy())
        )
        assert same(one, other)


def test_what_items_draw_depends_on_seed_epoch_and_place_not_on_workers_ranks_or_start():
    noisy = partial(Squares, noise=True)
    data = lazy(noisy)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    whole = batches(data)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert same(whole, batches(lazy(noisy, num_workers=2)))
    assert same(whole[2:], batches(data, first=2))
    halves = [batches(data, rank=rank, world_size=2) for rank in range(2)]
    joined = [
        (torch.cat([a, c]), torch.cat([b, d])) for (a, b), (c, d) in zip(*halves, strict=True)
    ]
    assert same(joined, whole)
    again, other = batches(data, epoch=4), batches(data, seed=6)
    assert not same(whole, again)
    assert not same(whole, other)
    drawn = torch.cat([x[:, 2:] for x, _ in whole])
    assert (drawn.unique(dim=0).shape[0], drawn.shape[1]) == (16, 3)
    evaluated = [list(data.eval_batches("val", batch_size=4, device=CPU)) for _ in range(2)]
    assert same(*evaluated)
    assert same(batches(make(noisy, test=noisy)), batches(make(noisy, test=noisy)))


def test_several_inputs_stay_apart():
    given = partial(Given, lambda index: ({"x": torch.zeros(2), "n": index}, 1.5))
    data = make(given, test=given, num_val=1)
    inputs, targets = batches(data, batch_size=2)[0]
    assert {name: tuple(one.shape) for name, one in inputs.items()} == {"x": (2, 2), "n": (2,)}
    assert targets.dtype == torch.float32
    pair = partial(Given, lambda index: ((torch.zeros(2), torch.ones(3)), 1))
    inputs, _ = batches(lazy(pair, test=pair, num_val=1), batch_size=2)[0]
    assert isinstance(inputs, tuple)
    assert [tuple(one.shape) for one in inputs] == [(2, 2), (2, 3)]


def test_fingerprints():
    assert make().fingerprint() == make().fingerprint()
    assert make().fingerprint() != make(partial(Squares, 19)).fingerprint()
    assert lazy().fingerprint() == lazy().fingerprint()
    assert lazy().fingerprint() != lazy(version="2").fingerprint()
    assert lazy().fingerprint() != lazy(split_seed=1).fingerprint()


def test_the_root_and_a_validation_set_are_passed_on():
    seen = []

    def opened(root=None):
        seen.append(root)
        return Squares(5)

    data = make(opened, val=opened, num_val=None, test=Squares(3))
    assert (seen, data.num_train, len(data.val), len(data.test)) == ([None, None], 5, 5, 3)
    make(opened, test=opened, num_val=1, with_root=True)
    assert seen[2:] == [ROOT, ROOT]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: make(val=Squares), "exactly one of them"),
        (lambda: make(num_val=None), "exactly one of them"),
        (lambda: make(num_val=20), "num_val=20"),
        (lambda: make(in_memory=False), "version=None"),
        (lambda: make(num_workers=2), "num_workers=2"),
        (lambda: make(Stream), "train: Stream is an IterableDataset"),
        (lambda: make(test=Unsized), "test: Unsized does not say how many items"),
        (lambda: make(partial(Given, lambda i: (1, 2, 3)), num_val=1), "a tuple of 3; expected"),
        (lambda: make(partial(Given, lambda i: torch.zeros(2)), num_val=1), "is a Tensor"),
        (
            lambda: make(partial(Given, lambda i: (Image.new("L", (2, 2)), 0)), num_val=1),
            "a transform such as ToTensor",
        ),
        (
            lambda: make(partial(Given, lambda i: (torch.zeros(i + 1), 0)), num_val=1),
            "of one shape",
        ),
        (lambda: make(partial(Given, lambda i: ("text", 0)), num_val=1), "found a str in it"),
        (lambda: lazy().eval_batches("valid", batch_size=2, device=CPU), "train, val, test"),
        (lambda: lazy().eval_batches("val", batch_size=0, device=CPU), "batch_size=0"),
        (lambda: lazy(num_val=0).eval_batches("val", batch_size=1, device=CPU), "is empty"),
    ],
)
def test_mistakes_are_explained(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
