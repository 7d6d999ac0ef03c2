"""Digits, MNIST and CIFAR from small files in their own formats."""

import gzip
import hashlib
import importlib
import inspect
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torchvision import datasets

from sparsekit.data.cifar import cifar10, cifar100
from sparsekit.data.digit_pairs import digit_pairs
from sparsekit.data.digits import digits
from sparsekit.data.idx import read_idx
from sparsekit.data.memory import channel_statistics
from sparsekit.data.mnist import fashion_mnist, mnist
from sparsekit.data.some_classes import some_classes

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs" / "data"
TEN = tuple("abcdefghij")


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, *, zipped: bool) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": random.integers(0, 256, (40, 28, 28), np.uint8),
        "train-labels-idx1-ubyte": np.arange(40, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": random.integers(0, 256, (20, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
    }
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def test_every_configuration_is_described_and_names_options_that_exist():
    images = {"digits", "mnist", "fashion_mnist", "cifar10", "cifar10_16", "cifar100"}
    others = {
        "image_folder",
        "diabetes",
        "digit_pairs",
        "python_text",
        "some_classes",
        "torch_dataset",
    }
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == images | others
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text().startswith("# "), path
        config = yaml.safe_load(path.read_text())
        config.pop("defaults", None)  # of the task, for instance
        for node in (config, *config.get("augment", [])):
            module, function = node.pop("_target_").rsplit(".", 1)
            signature = inspect.signature(getattr(importlib.import_module(module), function))
            assert node.keys() <= signature.parameters.keys(), path


def test_digits_are_the_real_ones_in_three_stratified_parts():
    data = digits(Path("nowhere"))
    assert (data.num_train, len(data.val.labels), len(data.test.labels)) == (1257, 180, 360)
    assert data.image_shape == (1, 8, 8)
    assert data.train.images.max() == 255
    assert data.test.labels.bincount().tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    images, _ = next(data.eval_batches("train", batch_size=1257, device=CPU))
    assert images.mean().abs() < 1e-5
    assert images.std().item() == pytest.approx(1, abs=1e-3)
    assert data.fingerprint() == digits(Path("elsewhere")).fingerprint()
    assert data.fingerprint() != digits(Path("nowhere"), split_seed=1).fingerprint()


def test_some_classes_are_those_of_the_same_splits_numbered_anew():
    whole = digits(Path("nowhere"))
    half = some_classes(Path("nowhere"), of=digits, classes=[7, 5])
    assert (half.num_classes, half.mean, half.std) == (2, whole.mean, whole.std)
    for name in ("train", "val", "test"):
        mine, its = getattr(half, name), getattr(whole, name)
        assert torch.equal(mine.images, its.images[(its.labels == 7) | (its.labels == 5)])
        assert len(mine.labels) == len(mine.images)
        assert torch.equal(mine.images[mine.labels == 0], its.images[its.labels == 7])
    with pytest.raises(ValueError, match=r"classes=\[7, 10\]: .* 0 \.\. 9"):
        some_classes(Path("nowhere"), of=digits, classes=[7, 10])
    with pytest.raises(ValueError, match="in memory, got TensorData"):
        some_classes(Path("nowhere"), of=digit_pairs, classes=[7, 5])


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("builder", "folder"), [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
def test_idx_sets_are_read_zipped_or_not(tmp_path, builder, folder, zipped):
    arrays = write_mnist(tmp_path / folder / "raw", zipped=zipped)
    data = builder(tmp_path, num_val=10)
    assert (data.num_train, len(data.val.labels), len(data.test.labels)) == (30, 10, 20)
    assert np.array_equal(data.test.images[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(data.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert data.val.labels.bincount().tolist() == [1] * 10
    together = torch.cat([data.train.images, data.val.images]).flatten(1).double().sum(1).sort()
    everything = arrays["train-images-idx3-ubyte"].reshape(40, -1).astype(float).sum(1)
    assert np.array_equal(together.values, np.sort(everything))


def test_the_full_mnist(mnist_root):
    data = mnist(mnist_root, num_val=0)
    assert (data.num_train, len(data.test.labels), data.image_shape) == (
        60_000,
        10_000,
        (1, 28, 28),
    )
    (mean,), (std,) = channel_statistics(data.train.images)
    assert (round(mean, 4), round(std, 4)) == (0.1307, 0.3081)


def test_missing_and_broken_idx_files_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MNIST.raw.*nothing is downloaded"):
        mnist(tmp_path)
    path = tmp_path / "images"
    good = idx_bytes(np.zeros((2, 3), np.uint8))
    broken = {
        "not an IDX": b"<html>",
        r"header says \[2, 3\], 5 bytes": good[:-1],
        "ends within its header": good[:7],
    }
    for message, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_idx(path)
    path.unlink()
    (tmp_path / "images.gz").write_bytes(gzip.compress(good)[:-4])
    with pytest.raises(ValueError, match="complete gzip"):
        read_idx(path)


def test_cifar_from_folders(tmp_path, write_image_folder):
    write_image_folder(tmp_path / "cifar10" / "train", classes=TEN, num_each=6, size=(32, 32))
    images = write_image_folder(
        tmp_path / "cifar10" / "test", classes=TEN, num_each=2, size=(32, 32)
    )
    data = cifar10(tmp_path, num_val=10)
    assert (data.num_train, len(data.val.labels), data.num_classes) == (50, 10, 10)
    assert np.array_equal(data.test.images.permute(0, 2, 3, 1), images)
    assert data.test.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert len(data.augment) == 2
    assert data.mean == (0.4914, 0.4822, 0.4465)


def write_cifar10_batches(folder: Path, monkeypatch) -> np.ndarray:
    """Python batches as torchvision expects them, and the sums of these instead of the real."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3072), np.uint8)
    sums = []
    for position in range(6):
        name = f"data_batch_{position + 1}" if position < 5 else "test_batch"
        content = {"data": pixels[10 * position : 10 * position + 10], "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
        sums.append([name, hashlib.md5((folder / name).read_bytes()).hexdigest()])
    meta = pickle.dumps({"label_names": list(TEN)})
    (folder / "batches.meta").write_bytes(meta)
    described = {"filename": "batches.meta", "key": "label_names"}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", described | {"md5": hashlib.md5(meta).hexdigest()}
    )
    return pixels


def test_cifar_from_python_batches(tmp_path, monkeypatch):
    pixels = write_cifar10_batches(tmp_path / "cifar-10-batches-py", monkeypatch)
    data = cifar10(tmp_path, num_val=10)
    assert data.num_train == 40
    assert np.array_equal(data.test.images.flatten(1), pixels[50:])
    assert data.test.labels.tolist() == list(range(10))


def test_missing_and_broken_cifar_are_explained(tmp_path, write_image_folder):
    with pytest.raises(FileNotFoundError, match=r"cifar-100-python.*cifar100.*nothing is down"):
        cifar100(tmp_path)
    write_image_folder(tmp_path / "cifar100" / "train", classes=TEN, num_each=2)
    write_image_folder(tmp_path / "cifar100" / "test", classes=TEN, num_each=2)
    with pytest.raises(ValueError, match="holds 10 classes, cifar100 has 100"):
        cifar100(tmp_path, num_val=5)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ValueError, match="not the complete original cifar10"):
        cifar10(tmp_path)
