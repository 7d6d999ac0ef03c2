"""Batches that run in turns: the same outputs, and only where outputs are by example."""

import dataclasses

import pytest
import torch
from torch import nn

from sparsekit.exports import splitting
from sparsekit.exports.convert import convert
from sparsekit.inference.graph import Graph
from sparsekit.inference.running import SparseNetwork


class Outputs(nn.Module):
    """A layer with outputs of some form."""

    def __init__(self, form):
        super().__init__()
        self.layer, self.form = nn.Linear(4, 3), form

    def forward(self, x):
        return self.form(self.layer(x))


@pytest.fixture
def inputs():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def converted(form, inputs):
    model = Outputs(form)
    masks = {"layer.weight": torch.rand(3, 4) < 0.7}
    return convert(model, masks, inputs, choose="sparse").graph


def test_parts_are_put_together(inputs):
    graph = converted(lambda y: {"y": y, "both": (y + 1, y * 2)}, inputs)
    whole = SparseNetwork(graph)(inputs)
    parts = SparseNetwork(dataclasses.replace(graph, at_once=4))(inputs)
    torch.testing.assert_close(parts, whole)
    record, tensors = dataclasses.replace(graph, at_once=4).record()
    assert Graph.from_record(record, tensors).at_once == 4
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="at_once of the graph must be a number of examples"):
            Graph.from_record({**record, "at_once": wrong}, tensors)


@pytest.mark.parametrize(
    ("form", "seconds", "expected"),
    [
        (lambda y: y, [4, 1, 2], 1),
        (lambda y: y, [4, 5, 3], 2),
        (lambda y: y, [4, 3.9, 3.95], None),
        (lambda y: y.sum(), [4, 1, 1], None),
        (lambda y: y.t(), [4, 1, 1], None),
    ],
)
def test_the_fastest_size_is_taken(inputs, form, seconds, expected, monkeypatch):
    graph = converted(form, inputs)

    def told(ways, rounds):
        return {name: [second] * rounds for name, second in zip(ways, seconds, strict=True)}

    monkeypatch.setattr(splitting, "interleave", told)
    assert splitting.split(graph, (inputs,), threads=1).at_once == expected
