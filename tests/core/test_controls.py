"""Controls keep numbers and structure, and nothing else of a mask."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsekit.core import allocate, patterns, scores
from sparsekit.core.controls import across_layers, within_layers
from sparsekit.core.prune import num_kept, prune
from sparsekit.core.structure import structure

SHAPES = {"conv": (6, 4, 3, 3), "fc": (5, 24)}
DENSE = {name: torch.ones(shape).bool() for name, shape in SHAPES.items()}


def random_masks(seed: int, total: int, pattern=patterns.unstructured, scheme=allocate.erk):
    score = partial(scores.random, seed=seed)
    return prune(DENSE, DENSE, None, total, score=score, allocate=scheme, pattern=pattern)


def equal(one, two) -> list[bool]:
    return [torch.equal(mask, two[name]) for name, mask in one.items()]


@settings(max_examples=40, deadline=None)
@given(total=st.integers(2, 336), seed=st.integers(0, 1000))
def test_counts_are_exact(total: int, seed: int) -> None:
    masks = random_masks(3, total)
    assert num_kept(within_layers(masks, seed)) == num_kept(masks)
    assert sum(num_kept(across_layers(masks, seed)).values()) == total
    assert equal(masks, random_masks(3, total)) == [True, True]  # nothing is changed in place


@pytest.mark.parametrize("control", [within_layers, across_layers])
def test_positions_follow_from_seed_and_name_and_not_from_the_mask(control) -> None:
    masks = random_masks(0, 100)
    first = control(masks, 0)
    assert equal(first, control(masks, 0)) == [True, True]
    assert equal(first, control(masks, 1)) == [False, False]
    # also of the mask that the same seed drew: it would be its own control
    assert equal(first, masks) == [False, False]
    # other masks of the same numbers have the same control
    flipped = {name: mask.flip(0) for name, mask in masks.items()}
    assert equal(flipped, masks) == [False, False]
    assert equal(first, control(flipped, 0)) == [True, True]


def test_a_layer_does_not_depend_on_the_others() -> None:
    masks = random_masks(0, 100)
    alone = within_layers({"fc": masks["fc"]}, 0)
    assert torch.equal(alone["fc"], within_layers(masks, 0)["fc"])


def test_a_shuffle_of_one_layer_is_the_random_mask_of_the_same_count() -> None:
    """Every position of 12 is kept equally often: 5 of 12 within four standard deviations."""
    mask = {"a": torch.tensor([[True] * 5 + [False] * 7]).view(3, 4)}
    drawn = [within_layers(mask, seed)["a"] for seed in range(600)]
    mean = torch.stack(drawn).double().mean(dim=0)
    assert (mean - 5 / 12).abs().max() < 4 * math.sqrt(5 * 7 / 144 / 600)


def test_only_the_total_survives_across_layers() -> None:
    masks = {"a": torch.ones(100, 10).bool(), "b": torch.zeros(300, 10).bool()}
    found = num_kept(across_layers(masks, 0))
    assert found["a"] + found["b"] == 1000
    # hypergeometric: 1000 of 4000, a quarter of which lie in the first layer
    assert abs(found["a"] - 250) < 4 * math.sqrt(1000 * 0.25 * 0.75 * 0.75)


@pytest.mark.parametrize(
    ("pattern", "total"),
    [
        (patterns.constant_fan_in, 121),
        (partial(patterns.n_of_m, n=1, m=4), 84),
        (patterns.balanced, 100),
        (patterns.channels, 168),
    ],
    ids=["constant_fan_in", "n_of_m", "balanced", "channels"],
)
def test_the_structure_survives(pattern, total) -> None:
    schemes = {121: partial(allocate.in_whole_rows, allocate=allocate.erk), 100: allocate.erk}
    in_channels = partial(allocate.in_whole_channels, allocate=allocate.uniform)
    scheme = {**schemes, 84: allocate.uniform, 168: in_channels}[total]
    masks = random_masks(0, total, pattern, scheme)
    shuffled = within_layers(masks, 0, pattern=pattern)
    assert structure(shuffled) == structure(masks)
    assert not any(equal(shuffled, masks))
    # a mask of this pattern again: it is what the pattern keeps of its own choice
    counts = num_kept(shuffled)
    again = {name: pattern(mask.float(), counts[name]) for name, mask in shuffled.items()}
    assert all(equal(again, shuffled))


def test_ablated_neurons_stay_where_they_are_asked_to() -> None:
    mask = torch.zeros(4, 6).bool()
    mask[[0, 2, 3], :3] = True
    with pytest.raises(ValueError, match="4 active rows, got 9"):
        within_layers({"a": mask}, 0, pattern=patterns.constant_fan_in)
    kept = within_layers({"a": mask}, 0, pattern=patterns.constant_fan_in, ablated_stay=True)
    assert kept["a"].sum(dim=1).tolist() == [3, 0, 3, 3]
    assert not torch.equal(kept["a"], mask)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_controls_do_not_depend_on_the_device() -> None:
    masks = random_masks(0, 100)
    on_gpu = {name: mask.cuda() for name, mask in masks.items()}
    for control in (
        within_layers,
        partial(within_layers, pattern=patterns.balanced),
        across_layers,
    ):
        found = {name: mask.cpu() for name, mask in control(on_gpu, 0).items()}
        assert equal(found, control(masks, 0)) == [True, True]
