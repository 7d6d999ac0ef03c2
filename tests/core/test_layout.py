"""Weights of transposed convolutions are pruned by their outputs, of whatever groups."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from sparsekit.core import allocate, movers, patterns, rules, scores
from sparsekit.core.layout import as_stored, outputs_first, prune_rows, rows_first
from sparsekit.core.prune import prune
from sparsekit.core.structure import structure
from sparsekit.models.layers import transposed_groups

FAN_IN = partial(
    prune,
    score=scores.magnitude,
    allocate=partial(allocate.in_whole_rows, allocate=allocate.erk),
    pattern=patterns.constant_fan_in,
)


def network(groups: int) -> nn.Module:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(8, 12, 3, groups=groups)
    return nn.Sequential(nn.Conv2d(8, 8, 3), up)


def inputs_of_outputs(model: nn.Module, mask: torch.Tensor) -> list[int]:
    """How many weights reach each output channel, seen from outside: by what its output is made
    of when each weight is 1 and each input is 1 at one pixel."""
    up = model[1]
    twin = nn.ConvTranspose2d(8, 12, 3, groups=up.groups, bias=False)
    with torch.no_grad():
        twin.weight.copy_(mask.float())
        return twin(torch.ones(1, 8, 1, 1)).sum(dim=(0, 2, 3)).int().tolist()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_output_has_the_same_fan_in(groups: int) -> None:
    model = network(groups)
    transposed = transposed_groups(model)
    assert transposed == {"1.weight": groups}
    weights = {name: p.detach() for name, p in model.named_parameters() if p.dim() > 1}
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    kept = prune_rows(FAN_IN, weights, masks, None, 200, transposed=transposed)
    assert kept["1.weight"].shape == weights["1.weight"].shape
    reached = inputs_of_outputs(model, kept["1.weight"])
    assert len(reached) == 12
    assert len(set(reached)) == 1
    layer = structure(outputs_first(kept, transposed))["1.weight"]
    assert (layer["neurons"], layer["fan_in"]) == (12, [reached[0]] * 2)
    # of each output the largest: its smallest kept weight is no smaller than any that went
    rows, chosen = (outputs_first(one, transposed)["1.weight"] for one in (weights, kept))
    for row, on in zip(rows.flatten(1).abs(), chosen.flatten(1), strict=True):
        assert row[on].min() >= row[~on].max()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_mover_keeps_the_fan_in_of_outputs(groups: int) -> None:
    model = network(groups)
    transposed = transposed_groups(model)
    weights = {"1.weight": model[1].weight.detach()}
    masks = {"1.weight": torch.ones_like(weights["1.weight"], dtype=torch.bool)}
    start = prune_rows(FAN_IN, weights, masks, None, 60, transposed=transposed)
    rewire = movers.Rewire(rule=partial(rules.srigl_rule, gamma_sal=0), interval=10)
    mover = rows_first(rewire, transposed)
    mover.rehearse(weights, start, 100)
    masked = {name: weight * start[name] for name, weight in weights.items()}
    slopes = {name: torch.randn_like(weight) for name, weight in weights.items()}
    moved = mover.move(10, masked, slopes, start, 100)
    assert moved is not None
    assert not torch.equal(moved["1.weight"], start["1.weight"])
    assert set(inputs_of_outputs(model, moved["1.weight"])) == {5}


def test_a_score_asks_the_probe_in_the_layout_that_is_stored() -> None:
    class Gradients:
        def gradients(self, weights, sample=None, *, temperature=1.0):
            assert weights["up"].shape == (4, 6, 1, 1)
            return {"up": torch.arange(24.0).view(4, 6, 1, 1)}

    score = partial(scores.snip, seed=0)
    once = partial(prune, score=score, allocate=allocate.globally, pattern=patterns.unstructured)
    weights = {"up": torch.ones(4, 6, 1, 1)}
    masks = {"up": torch.ones(4, 6, 1, 1).bool()}
    kept = prune_rows(once, weights, masks, Gradients(), 5, transposed={"up": 2})
    assert kept["up"].flatten().nonzero().flatten().tolist() == [19, 20, 21, 22, 23]


def test_layouts_are_swapped_back_and_misfits_refused() -> None:
    stored = {"up": torch.arange(48.0).view(8, 3, 2), "fc": torch.ones(2, 2)}
    shown = outputs_first(stored, {"up": 4})
    assert shown["up"].shape == (12, 2, 2)
    # output 3 is the first of the second group: its inputs are channels 2 and 3
    assert torch.equal(shown["up"][3], stored["up"][2:4, 0])
    assert torch.equal(as_stored(shown, {"up": 4})["up"], stored["up"])
    with pytest.raises(ValueError, match=r"'fc' of shape \(2, 2\) is not a transposed weight of 3"):
        outputs_first(stored, {"fc": 3})
