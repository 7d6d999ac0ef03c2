"""GELU of what a sparse layer computes, while its sums are near."""

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference.graph import Graph, Input, Node, Of
from sparsekit.inference.layers import SparseLinear
from sparsekit.inference.rows import sparse_rows
from sparsekit.inference.running import SparseNetwork

IN, OUT = 24, 150


@pytest.fixture(autouse=True)
def same_kernels(kernels):
    return kernels


def rows(scale=1.0):
    torch.manual_seed(0)
    weight = torch.randn(OUT, IN) * scale
    mask = torch.rand_like(weight) < 0.3
    mask[3] = False
    return sparse_rows(weight, mask)


@pytest.mark.parametrize("shape", [(1,), (3,), (9,), (17,), (40,), (2, 29), (197,), (0,)])
@pytest.mark.parametrize("by_feature", [False, True])
def test_a_layer_with_gelu(shape, by_feature):
    bias = torch.randn(OUT)
    layer, x = SparseLinear(rows(), bias), torch.randn(*shape, IN)
    layer.by_feature = by_feature
    expected = F.gelu(F.linear(x, layer.rows.dense(), bias))
    torch.testing.assert_close(layer.gelu(x), expected, rtol=1e-5, atol=1e-5)


def test_of_numbers_of_every_size():
    """A weight of 1 for each input: sums are the inputs, large, small, infinite and none."""
    layer = SparseLinear(sparse_rows(torch.eye(IN), torch.eye(IN, dtype=torch.bool)))
    x = torch.linspace(-12, 12, 64 * IN).view(64, IN)
    x[0, :4] = torch.tensor([1e30, -1e30, 1e-30, 0.0])
    found, expected = layer.gelu(x), F.gelu(x.double()).float()
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=1e-6)
    x[1, 0], x[2, 1] = float("nan"), float("inf")
    found = layer.gelu(x)
    assert found[1, 0].isnan()
    assert found[2, 1] == float("inf")


def graph(*, outputs=("last",), **gelu):
    """Two layers with GELU between them."""
    given = {"bias": None, "residual": None, "activation": None}
    return Graph(
        (Input("x", (None, IN), torch.float32),),
        (
            Node("first", "sparse_linear", {"x": Of("x"), "weight": Of("w"), **given}),
            Node("gelu", "aten.gelu.default", {"self": Of("first"), **gelu}),
            Node("last", "sparse_linear", {"x": Of("gelu"), "weight": Of("v"), **given}),
        ),
        [Of(name) for name in outputs],
        weights={"w": rows(), "v": sparse_rows(torch.ones(5, OUT), torch.rand(5, OUT) < 0.5)},
    )


@pytest.mark.parametrize(
    ("settings", "together"),
    [({}, True), ({"outputs": ("last", "first")}, False), ({"approximate": "tanh"}, False)],
)
def test_networks(settings, together):
    given, x = graph(**settings), torch.randn(30, IN)
    network = SparseNetwork(given)
    assert [step.name for step in network._steps] == ["first", "gelu", "last"][together:]
    first = F.linear(x, given.weights["w"].dense())
    kind = settings.get("approximate", "none")
    last = F.linear(F.gelu(first, approximate=kind), given.weights["v"].dense())
    expected = {"first": first, "last": last}
    for of, found in zip(given.outputs, network(x), strict=True):
        torch.testing.assert_close(found, expected[of.name], rtol=1e-5, atol=1e-4)
