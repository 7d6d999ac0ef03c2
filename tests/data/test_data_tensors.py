"""Data that are not images: rows of numbers, tokens, several inputs."""

import dataclasses
from pathlib import Path

import pytest
import torch

from sparsekit.data.batches import concatenate, tensors_of
from sparsekit.data.diabetes import diabetes
from sparsekit.data.digit_pairs import digit_pairs
from sparsekit.data.digits import digits
from sparsekit.data.python_text import modules, python_text
from sparsekit.data.tensors import Examples, TensorData, standardised

CPU = torch.device("cpu")
NOWHERE = Path("nowhere")


def examples(num: int, *, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(9, (num, 4), generator=generator)
    inputs = {"x": torch.randn(num, 3, generator=generator), "tokens": tokens}
    return Examples(inputs, torch.randint(5, (num,), generator=generator))


def make(num_train: int = 50) -> TensorData:
    return TensorData(
        "noise", 5, examples(num_train, seed=0), examples(7, seed=1), examples(9, seed=2)
    )


def batches(data: TensorData, **options):
    arguments = {"batch_size": 12, "seed": 5, "epoch": 3, "device": CPU} | options
    return list(data.train_batches(**arguments))


def flat(batch):
    inputs, targets = batch
    return [*tensors_of(inputs), targets]


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        all(torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))
        for one, other in zip(first, second, strict=True)
    )


def test_batches_depend_on_seed_epoch_and_index_alone():
    data = make()
    whole = batches(data)
    assert len(whole) == 4
    assert whole[0][0]["x"].shape == (12, 3)
    assert same(whole, batches(data))
    assert all(same(whole[first:], batches(data, first=first)) for first in range(5))
    assert not same(whole, batches(data, epoch=4))
    assert not same(whole, batches(data, seed=6))


def test_ranks_together_see_the_batch_of_one_process():
    data = make()
    parts = [batches(data, rank=rank, world_size=3) for rank in range(3)]
    joined = [
        (concatenate([x for x, _ in step]), torch.cat([y for _, y in step]))
        for step in zip(*parts, strict=True)
    ]
    assert same(joined, batches(data))


def test_evaluation_is_ordered_and_complete():
    data = make()
    found = list(data.eval_batches("test", batch_size=4, device=CPU))
    assert [len(targets) for _, targets in found] == [4, 4, 1]
    joined = (concatenate([x for x, _ in found]), torch.cat([y for _, y in found]))
    assert same([joined], [(data.test.inputs, data.test.targets)])


def test_the_example_is_the_first_of_training():
    example = make().example()
    assert torch.equal(example["tokens"], make().train.inputs["tokens"][:1])
    assert example["x"].shape == (1, 3)


def test_fingerprint_changes_with_one_number_a_name_or_the_splits():
    data = make()
    changed = examples(7, seed=1)
    changed.inputs["x"][0, 0] += 1e-3
    inputs = {"y": data.val.inputs["x"], "tokens": data.val.inputs["tokens"]}
    others = [
        dataclasses.replace(data, val=changed),
        dataclasses.replace(data, val=data.test, test=data.val),
    ]
    assert make().fingerprint() == data.fingerprint()
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 3
    with pytest.raises(ValueError, match="different examples"):
        dataclasses.replace(data, val=Examples(inputs, data.val.targets))
    assert dataclasses.replace(data, digest="mine").fingerprint() == "mine"


def test_tensors_move_to_a_device_once():
    data = make()
    meta = torch.device("meta")
    inputs, targets = next(data.eval_batches("val", batch_size=3, device=meta))
    assert {one.device for one in flat((inputs, targets))} == {meta}
    assert data._resident("val", meta) is data._resident("val", meta)


def test_standardised_by_the_training_part_alone():
    train = torch.tensor([[1.0, 7.0, 0.1], [3.0, 7.0, 0.1], [5.0, 7.0, 0.1]])
    scaled, other = standardised(train, torch.tensor([[3.0, 8.0, 0.1]]))
    deviation = (8 / 3) ** 0.5
    torch.testing.assert_close(scaled[:, 0], torch.tensor([-2.0, 0.0, 2.0]) / deviation)
    assert not scaled[:, 1:].any()  # constant: shifted, and not divided by 0
    torch.testing.assert_close(other, torch.tensor([[0.0, 1.0, 0.0]]))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: Examples(torch.zeros(3, 2), torch.zeros(4)), "3 inputs do not fit 4 targets"),
        (lambda: Examples(torch.zeros(3).double(), torch.zeros(3)), "float64"),
        (lambda: Examples([], torch.zeros(3)), "empty list"),
        (lambda: make(num_train=0), "training split is empty"),
        (lambda: dataclasses.replace(make(), num_outputs=0), "num_outputs=0"),
        (
            lambda: dataclasses.replace(
                make(), val=Examples(make().val.inputs, make().val.targets.float())
            ),
            "different examples",
        ),
        (
            lambda: TensorData(
                "n", 1, *3 * [Examples(torch.tensor([[1.0], [float("nan")]]), torch.zeros(2))]
            ),
            "not finite",
        ),
        (lambda: make().train_batches(batch_size=51, seed=0, epoch=0, device=CPU), "51"),
        (lambda: make().eval_batches("valid", batch_size=2, device=CPU), "train, val, test"),
        (lambda: make().eval_batches("val", batch_size=0, device=CPU), "batch_size=0"),
        (
            lambda: dataclasses.replace(make(), val=examples(0, seed=0)).eval_batches(
                "val", batch_size=2, device=CPU
            ),
            "num_val",
        ),
    ],
)
def test_mistakes_raise_at_once(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_diabetes_is_the_real_one_standardised_by_its_training_split():
    data = diabetes(NOWHERE)
    assert (data.num_train, len(data.val), len(data.test), data.num_outputs) == (288, 66, 88, 1)
    assert data.train.targets.shape == (288, 1)
    for numbers in (data.train.inputs, data.train.targets):
        assert numbers.mean(0).abs().max() < 1e-6
        torch.testing.assert_close(numbers.std(0, correction=0), torch.ones(numbers.shape[1]))
    assert data.test.targets.mean().abs() > 1e-3
    assert data.fingerprint() == diabetes(Path("elsewhere")).fingerprint()
    assert data.fingerprint() != diabetes(NOWHERE, split_seed=1).fingerprint()


def test_digit_pairs_are_labelled_with_the_digits_in_them():
    data, source = digit_pairs(NOWHERE), digits(NOWHERE)
    assert (data.num_train, len(data.val), len(data.test)) == (5028, 720, 1440)
    assert data.example().shape == (1, 1, 8, 16)
    labels = data.train.targets
    assert set(labels.sum(1).tolist()) == {1.0, 2.0}
    left = (data.train.inputs[:1257, :, :, :8] + 1) * 127.5
    torch.testing.assert_close(left, source.train.images.float())
    assert labels[torch.arange(1257), source.train.labels].all()
    right = ((data.train.inputs[:1257, :, :, 8:] + 1) * 127.5).round().flatten(1)
    own = source.train.images.float().flatten(1)
    found = (right[0] == own).all(1).nonzero()[0, 0]
    assert labels[0, source.train.labels[found]] == 1
    with pytest.raises(ValueError, match="pairs_per_digit=0"):
        digit_pairs(NOWHERE, pairs_per_digit=0)


def test_python_text_is_that_of_the_standard_library_shifted_by_one():
    data = python_text(NOWHERE, length=10, num_bytes=20_000)
    first = next(iter(modules())).read_bytes()
    assert bytes(data.train.inputs[:5].flatten().tolist()) == first[:50]
    assert bytes(data.train.targets[:5].flatten().tolist()) == first[1:51]
    assert torch.equal(data.train.inputs[1:, 0], data.train.targets[:-1, -1])
    assert (data.num_train, len(data.val), len(data.test), data.num_outputs) == (1799, 99, 99, 256)
    assert data.train.inputs.dtype == data.train.targets.dtype == torch.int64
    other = python_text(NOWHERE, length=20, num_bytes=20_000)
    assert data.fingerprint() == python_text(NOWHERE, length=10, num_bytes=20_000).fingerprint()
    assert data.fingerprint() != other.fingerprint()


def test_python_text_refuses_parts_without_a_window_and_more_than_there_is():
    with pytest.raises(ValueError, match="length=64: the val part has 50 bytes"):
        python_text(NOWHERE, num_bytes=1000)
    with pytest.raises(ValueError, match="num_bytes=1000000000: the standard library"):
        python_text(NOWHERE, num_bytes=10**9)
    with pytest.raises(ValueError, match="length=0"):
        python_text(NOWHERE, length=0)


def test_python_text_says_so_where_python_has_no_sources(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="sources of the standard library"):
        python_text(NOWHERE)
    (tmp_path / "_private.py").write_text("no")
    (tmp_path / "b.py").write_text("b" * 300)
    (tmp_path / "a.py").write_text("a" * 300)
    data = python_text(NOWHERE, length=5, num_bytes=400, val_fraction=0.25)
    assert bytes(data.train.inputs[-1].tolist()) == b"aaaaa"
    assert bytes(data.test.inputs[0].tolist()) == b"bbbbb"
