"""First layers with few channels, and the max pools that are computed with them."""

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference.graph import Graph, Input, Node, Of
from sparsekit.inference.rows import sparse_rows
from sparsekit.inference.running import SparseNetwork

OUT = 6


@pytest.fixture(autouse=True)
def same_kernels(kernels, monkeypatch):
    monkeypatch.setattr("sparsekit.inference.pooling.library", lambda: kernels)
    monkeypatch.setattr("sparsekit.inference.joining.library", lambda: kernels)


def graph(*, size=7, stride=2, window=3, step=2, outputs=("last",), **pool):
    """A dense convolution, a max pool and a sparse layer."""
    torch.manual_seed(size)
    given = {"bias": Of("bias"), "residual": None, "activation": "relu", "dilation": (1, 1)}
    given |= {"stride": (stride, stride), "padding": (size // 2, size // 2), "groups": 1}
    pool = {"self": Of("stem"), "kernel_size": [window, window], **pool}
    pool |= {"stride": [step, step], "padding": [window // 2, window // 2]}
    last = {**given, "x": Of("pool"), "weight": Of("last.weight"), "bias": None}
    last |= {"stride": (1, 1), "padding": (0, 0), "kernel_size": (1, 1)}
    weight = torch.randn(4, OUT, 1, 1)
    return Graph(
        (Input("x", (None, 3, None, None), torch.float32),),
        (
            Node("stem", "conv2d", {**given, "x": Of("x"), "weight": Of("weight")}),
            Node("pool", "aten.max_pool2d.default", pool),
            Node("last", "sparse_conv2d", last),
        ),
        [Of(name) for name in outputs],
        {"weight": torch.randn(OUT, 3, size, size), "bias": torch.randn(OUT)},
        {"last.weight": sparse_rows(weight, torch.rand_like(weight) < 0.7)},
    )


def by_pytorch(given, x):
    """What each node returns."""
    stem, pool, _ = given.nodes
    stride, padding = stem.arguments["stride"], stem.arguments["padding"]
    found = {"stem": F.conv2d(x, given.tensors["weight"], given.tensors["bias"], stride, padding)}
    found["stem"] = found["stem"].relu()
    window = [pool.arguments[name] for name in ("kernel_size", "stride", "padding")]
    ceil_mode = pool.arguments.get("ceil_mode", False)
    found["pool"] = F.max_pool2d(found["stem"], *window, ceil_mode=ceil_mode)
    weight = given.weights["last.weight"].dense().view(4, OUT, 1, 1)
    return {**found, "last": F.conv2d(found["pool"], weight).relu()}


def compare(given, x):
    """Run the graph, compare its outputs with those of PyTorch, and return its network."""
    network, expected = SparseNetwork(given), by_pytorch(given, x)
    with torch.no_grad():
        found = network(x)
    for name, one in zip((of.name for of in given.outputs), found, strict=True):
        torch.testing.assert_close(one, expected[name], rtol=1e-5, atol=1e-4)
    return network


def names(network):
    return [step.name for step in network._steps]


@pytest.mark.parametrize(
    ("n", "height", "width"), [(1, 37, 70), (16, 9, 8), (3, 21, 40), (8, 30, 9), (1, 8, 9)]
)
@pytest.mark.parametrize("settings", [{}, {"size": 3}, {"window": 2}, {"window": 5, "step": 1}])
def test_a_pool_is_computed_with_the_stem_before_it(kernels, settings, n, height, width):
    x = torch.randn(n, 3, height, width)
    network = compare(graph(**settings), x)
    assert names(network) == (["pool", "last"] if kernels else ["stem", "pool", "last"])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_images_in_every_layout(layout):
    x = torch.randn(16, 3, 24, 36)
    compare(graph(), x.contiguous(memory_format=layout))
    compare(graph(), x[:, :, 3:, 5:])
    compare(graph(), x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2))


@pytest.mark.parametrize(
    "settings",
    [{"outputs": ("last", "stem")}, {"outputs": ("stem", "pool")}, {"ceil_mode": True}],
)
def test_what_else_is_needed_is_computed(settings):
    network = compare(graph(**settings), torch.randn(4, 3, 32, 30))
    assert names(network) == ["stem", "pool", "last"]


def test_threads_give_the_same_bits(kernels):
    network, x = SparseNetwork(graph()), torch.randn(2, 3, 50, 64)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(network(x)[0])
    finally:
        torch.set_num_threads(before)
    if kernels:
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
