"""Image folders: listing, the decoded cache, and decoding on the fly in worker processes."""

import multiprocessing
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from sparsekit.data import decode, images
from sparsekit.data.augment import random_flip
from sparsekit.data.decode import decoded
from sparsekit.data.folder_in_memory import image_folder_in_memory
from sparsekit.data.folders import list_images
from sparsekit.data.image_folder import ImageFolder, _Images, _normalised, image_folder

CPU = torch.device("cpu")
CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def root(tmp_path, monkeypatch, write_image_folder) -> Path:
    """A data root with the set "pets": 8x8 images, 10 training and 4 test images per class."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_image_folder(tmp_path / "pets" / "train", classes=CLASSES, num_each=10)
    write_image_folder(tmp_path / "pets" / "test", classes=CLASSES, num_each=4)
    return tmp_path


def test_listing_is_sorted_by_class_and_passes_over_other_files(root):
    (root / "pets" / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "pets" / "train" / ".hidden").mkdir()
    listing = list_images(root / "pets" / "train")
    assert listing.classes == CLASSES
    assert listing.paths[:2] == ("cat/0000.png", "cat/0001.png")
    assert listing.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    part = listing.take(torch.tensor([29, 0]))
    assert part.paths == ("eel/0009.png", "cat/0000.png")
    assert part.labels.tolist() == [2, 0]


def test_broken_layouts_are_explained(root):
    with pytest.raises(FileNotFoundError, match=r"pets.valid.*sub-folder of images per class"):
        image_folder_in_memory(root, path="pets", val_folder="valid")
    with pytest.raises(ValueError, match="exactly one"):
        image_folder_in_memory(root, path="pets")
    with pytest.raises(ValueError, match="exactly one"):
        image_folder(root, path="pets", num_val=3, val_folder="test")
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match="no class folders"):
        list_images(root / "empty")
    (root / "pets" / "test" / "fox").mkdir()
    with pytest.raises(ValueError, match="fox holds no images"):
        image_folder(root, path="pets", num_val=3)
    Image.new("RGB", (8, 8)).save(root / "pets" / "test" / "fox" / "1.png")
    with pytest.raises(ValueError, match="different classes: fox"):
        image_folder(root, path="pets", num_val=3)


def test_decoding_is_exact_and_done_once(root, monkeypatch, write_image_folder):
    images = write_image_folder(root / "pets" / "train", classes=CLASSES, num_each=10)
    listing = list_images(root / "pets" / "train")
    first = decoded(listing)
    assert np.array_equal(first.permute(0, 2, 3, 1), images)
    (cache,) = (root / "pets" / ".sparsekit").iterdir()
    assert cache.suffix == ".npy"
    monkeypatch.setattr(decode, "_decode", None)
    assert torch.equal(decoded(listing), first)


def test_changed_folder_is_decoded_again(root):
    listing = list_images(root / "pets" / "train")
    before = decoded(listing)
    path = listing.folder / listing.paths[4]
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
    os.utime(path, ns=(0, listing.modified[4] + 1))
    after = decoded(list_images(listing.folder))
    assert after[4, :, 0, 0].tolist() == [1, 2, 3]
    assert torch.equal(after[5:], before[5:])


def test_damaged_cache_is_decoded_again(root):
    listing = list_images(root / "pets" / "train")
    before = decoded(listing)
    (cache,) = (root / "pets" / ".sparsekit").iterdir()
    for content in (b"", cache.read_bytes()[:200], b"something else"):
        cache.write_bytes(content)
        assert torch.equal(decoded(listing), before)
    assert len(cache.read_bytes()) > before.numel()


def test_cache_moves_to_the_user_where_the_folder_cannot_be_written(root):
    (root / "pets" / ".sparsekit").write_text("a file where the cache would go")
    before = decoded(list_images(root / "pets" / "train"))
    (cache,) = (root / "cache").rglob("*.npy")
    assert np.array_equal(np.load(cache), before)


def test_several_readers_at_once_leave_one_whole_file(root):
    listing = list_images(root / "pets" / "train")
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: decoded(listing), range(6)))
    assert all(torch.equal(result, results[0]) for result in results)
    assert [path.suffix for path in (root / "pets" / ".sparsekit").iterdir()] == [".npy"]


def test_images_of_several_sizes_need_a_size(root):
    Image.new("RGB", (20, 10), (9, 9, 9)).save(root / "pets" / "train" / "dog" / "0003.png")
    listing = list_images(root / "pets" / "train")
    with pytest.raises(ValueError, match=r"0003.png is 20x10 pixels.*image_size"):
        decoded(listing)
    assert decoded(listing, image_size=6).shape == (30, 3, 6, 6)


def test_unreadable_image_is_named(root):
    (root / "pets" / "train" / "cat" / "0002.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"0002.png is not a readable image"):
        image_folder_in_memory(root, path="pets", num_val=3)
    data = image_folder(root, path="pets", num_val=0, image_size=8, num_workers=0)
    with pytest.raises(ValueError, match=r"0002.png is not a readable image"):
        list(data.eval_batches("train", batch_size=30, device=CPU))


def test_folder_in_memory_takes_its_validation_images_from_either_place(root, write_image_folder):
    data = image_folder_in_memory(root, path="pets", num_val=6, augment=(random_flip,))
    assert (data.name, data.num_classes, data.image_shape) == ("pets", 3, (3, 8, 8))
    assert (data.num_train, len(data.val.labels), len(data.test.labels)) == (24, 6, 12)
    write_image_folder(root / "pets" / "val", classes=CLASSES, num_each=1)
    data = image_folder_in_memory(root, path="pets", val_folder="val", mean=(0.5,) * 3)
    assert (data.num_train, len(data.val.labels)) == (30, 3)
    assert data.mean == (0.5,) * 3


def pets(root: Path, **options) -> ImageFolder:
    return image_folder(root, path="pets", image_size=8, **({"num_val": 6} | options))


def test_the_example_of_a_folder_is_what_a_batch_holds(root):
    data = pets(root, num_workers=0)
    images, _ = next(data.eval_batches("val", batch_size=1, device=CPU))
    assert (data.example().shape, data.example().dtype) == (images.shape, images.dtype)
    assert data.num_outputs == 3


def batches(data: ImageFolder, **options) -> list[tuple[torch.Tensor, torch.Tensor]]:
    arguments = {"batch_size": 4, "seed": 5, "epoch": 3, "device": CPU} | options
    return list(data.train_batches(**arguments))


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_folder_batches_depend_on_seed_and_epoch_not_on_workers_ranks_or_start(root):
    data = pets(root, num_workers=0)
    random_state = torch.get_rng_state()
    whole = batches(data)
    assert torch.equal(random_state, torch.get_rng_state())
    assert len(whole) == 6
    assert whole[0][0].shape == (4, 3, 8, 8)
    assert same(whole, batches(pets(root, num_workers=2)))
    assert same(whole[2:], batches(data, first=2))
    halves = [batches(data, rank=rank, world_size=2) for rank in range(2)]
    joined = [
        (torch.cat([a, c]), torch.cat([b, d])) for (a, b), (c, d) in zip(*halves, strict=True)
    ]
    assert same(joined, whole)
    assert not same(whole, batches(data, epoch=4))
    assert not same(whole, batches(data, seed=6))


@pytest.fixture(params=[True, False], ids=["simplejpeg", "pillow alone"])
def photos(request, tmp_path, monkeypatch) -> Path:
    """A folder "photos" of JPEGs of several kinds, read with and without `simplejpeg`."""
    if not request.param:
        monkeypatch.setattr(images, "_jpeg_decoder", lambda: None)
    noise = torch.randint(256, (4, 45, 61, 3), generator=torch.Generator().manual_seed(0))
    kinds = [("RGB", 0, False), ("RGB", 2, True), ("L", 0, False), ("CMYK", 0, False)]
    for split in ("train", "test"):
        (tmp_path / "photos" / split / "a").mkdir(parents=True)
        for number, (mode, subsampling, progressive) in enumerate(kinds):
            Image.fromarray(noise[number].byte().numpy()).convert(mode).save(
                tmp_path / "photos" / split / "a" / f"{number}.jpg",
                subsampling=subsampling,
                progressive=progressive,
            )
    return tmp_path


def test_jpegs_have_the_pixels_that_pillow_reads(photos):
    listing = list_images(photos / "photos" / "train")
    for path in listing.paths:
        with Image.open(listing.folder / path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(images.read_pixels(listing.folder / path), expected), path


def test_a_jpeg_that_ends_early_is_refused(photos):
    path = photos / "photos" / "train" / "a" / "0.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=r"0.jpg is not a readable image"):
        images.read_pixels(path)


@pytest.mark.parametrize("resize", [None, "torch"])
@pytest.mark.parametrize("rand_augment", [None, 9])
def test_training_images_are_those_of_torchvisions_transforms(photos, rand_augment, resize):
    options = {"image_size": 16, "rand_augment": rand_augment, "resize": resize}
    data = image_folder(photos, path="photos", val_folder="test", **options)
    augment = [] if rand_augment is None else [v2.RandAugment(magnitude=rand_augment)]
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(16),
            v2.RandomHorizontalFlip(),
            *augment,
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(data.mean), std=list(data.std)),
        ]
    )
    for number in range(4):
        read = Image.open(data.train.folder / data.train.paths[number]).convert("RGB")
        read = v2.functional.pil_to_tensor(read) if resize == "torch" else read
        for seed in range(4):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                expected = transform(read)
            pixels, _ = _Images(data.train, data.read_train)[number, seed]
            found = _normalised(pixels[None], data.mean, data.std)[0]
            assert torch.equal(found, expected)


def test_resizing_by_torch_moves_training_pixels_by_one_level(root, write_image_folder):
    write_image_folder(root / "pets" / "train", classes=CLASSES, num_each=10, size=(60, 40))
    plain, other = (pets(root, num_workers=0, resize=resize) for resize in (None, "torch"))
    apart = max(
        float((first - second).abs().max())
        for (first, _), (second, _) in zip(batches(plain), batches(other), strict=True)
    )
    assert 0 < apart < 1.01 / 255 / min(plain.std)
    assert same(*(list(d.eval_batches("val", batch_size=6, device=CPU)) for d in (plain, other)))
    with pytest.raises(ValueError, match="resize='pillow' is neither 'torch' nor None"):
        pets(root, resize="pillow")


def test_folder_evaluation_is_ordered_complete_and_without_augmentation(root, write_image_folder):
    images = write_image_folder(root / "pets" / "test", classes=CLASSES, num_each=4, size=(9, 9))
    data = pets(root, num_workers=0)
    found = list(data.eval_batches("test", batch_size=5, device=CPU))
    assert [len(labels) for _, labels in found] == [5, 5, 2]
    pixels, labels = (torch.cat(column) for column in zip(*found, strict=True))
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    # 8/7 of 8 is 9: nothing is resized, and the central square starts at the first pixel.
    expected = torch.from_numpy(images[:, :8, :8]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(pixels, (expected - mean) / std)


def test_rand_augment_changes_training_only(root):
    plain, augmented = pets(root, num_workers=0), pets(root, num_workers=0, rand_augment=9)
    assert not same(batches(plain), batches(augmented))
    first, second = (
        list(data.eval_batches("val", batch_size=6, device=CPU)) for data in (plain, augmented)
    )
    assert same(first, second)


def test_folder_fingerprint_is_that_of_names_sizes_and_splits(root, tmp_path):
    before = pets(root).fingerprint()
    for path in (root / "pets" / "train").rglob("*.png"):
        os.utime(path, ns=(0, 0))
    assert pets(root).fingerprint() == before
    assert pets(root, split_seed=1).fingerprint() != before
    (root / "pets" / "test" / "cat" / "0000.png").rename(root / "pets" / "test" / "cat" / "a.png")
    assert pets(root).fingerprint() != before


def test_workers_leave_the_signals_that_end_a_job_to_their_parent(root):
    """Signals come from another process, as a cluster sends them; the parent's own one counts."""
    data = pets(root, num_workers=2)
    stream = data.train_batches(batch_size=2, seed=0, epoch=0, device=CPU)
    # One batch from each worker: both have set up their signals.
    seen = [next(stream), next(stream)]
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for name in ("TERM", "USR2"):
        subprocess.run(("kill", "-s", name, *(str(worker.pid) for worker in workers)), check=True)
    seen += list(stream)
    assert len(seen) == 12
    stream = data.train_batches(batch_size=2, seed=0, epoch=0, device=CPU)
    next(stream)
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join(10)
        assert worker.exitcode == 0


@pytest.mark.parametrize(
    ("options", "message"), [({"split": "valid"}, "train, val, test"), ({"batch_size": 0}, "0")]
)
def test_folder_mistakes_raise_at_once(root, options, message):
    arguments = {"split": "test", "batch_size": 2, "device": CPU} | options
    with pytest.raises(ValueError, match=message):
        pets(root).eval_batches(**arguments)
    with pytest.raises(ValueError, match="num_val"):
        pets(root, num_val=0).eval_batches("val", batch_size=2, device=CPU)
