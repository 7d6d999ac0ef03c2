"""Convolutions that are computed together give what each gives by itself, and nothing is lost."""

import dataclasses

import pytest
import torch

from sparsekit.inference import joining
from sparsekit.inference.graph import Graph, Input, Node, Of
from sparsekit.inference.grouping import groups, unshared
from sparsekit.inference.rows import sparse_rows
from sparsekit.inference.running import SparseNetwork

CHANNELS, WIDE = 12, 140  # more rows than a band has


@pytest.fixture(autouse=True)
def same_kernels(kernels, monkeypatch):
    monkeypatch.setattr("sparsekit.inference.joining.library", lambda: kernels)


def conv(name, x, *, size=1, stride=1, residual=None, activation="relu", groups=1):
    """Return a sparse convolution, padded so that images keep their size."""
    arguments = {
        "x": Of(x), "weight": Of(f"{name}.weight"), "bias": Of(f"{name}.bias"),
        "residual": residual and Of(residual), "kernel_size": [size, size],
        "stride": [stride, stride], "padding": [size // 2, size // 2], "dilation": [1, 1],
        "groups": groups, "activation": activation,
    }  # fmt: skip
    return Node(name, "sparse_conv2d", arguments)


def blocks(stride):
    """Return two residual blocks, the first with a shortcut of its own, and two layers more."""
    return [
        conv("a1", "x"),
        conv("a2", "a1", size=3, stride=stride),
        conv("a3", "a2", activation=None),
        conv("short", "x", stride=stride, residual="a3"),
        conv("b1", "short"),
        conv("b2", "b1", size=3),
        conv("b3", "b2", residual="short"),
        conv("c1", "b3"),
        conv("c2", "c1", size=3),
    ]


def graph(nodes, outputs, *, dtype=torch.float32, density=0.3):
    """Return a graph of sparse convolutions, and the same with dense ones."""
    torch.manual_seed(0)
    channels, tensors, weights, dense = {"x": CHANNELS}, {}, {}, {}
    for node in nodes:
        if node.op != "sparse_conv2d":
            continue
        size = tuple(node.arguments["kernel_size"])
        wide = node.name.endswith("3") or node.name == "short"
        channels[node.name] = out = WIDE if wide else CHANNELS
        weight = torch.randn(out, channels[node.arguments["x"].name], *size)
        mask = torch.rand_like(weight) < density
        mask[1] = False
        rows = weights[f"{node.name}.weight"] = sparse_rows(weight, mask, dtype=dtype)
        dense[f"{node.name}.weight"] = rows.dense().view(weight.shape)
        tensors[f"{node.name}.bias"] = torch.randn(out)
    inputs = (Input("x", (None, CHANNELS, None, None), torch.float32),)
    sparse = Graph(inputs, tuple(nodes), outputs, tensors, weights)
    return sparse, Graph(inputs, tuple(map(as_dense, nodes)), outputs, {**tensors, **dense})


def as_dense(node):
    if node.op != "sparse_conv2d":
        return node
    given = {name: one for name, one in node.arguments.items() if name != "kernel_size"}
    return dataclasses.replace(node, op="conv2d", arguments=given)


def compare(nodes, outputs, x, **settings):
    sparse, dense = graph(nodes, outputs, **settings)
    with torch.no_grad():
        found, expected = SparseNetwork(sparse)(x), SparseNetwork(dense)(x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_what_is_computed_together():
    parts = ("before", "added", "first", "after", "reader")
    found = groups(graph(blocks(2), [Of("c2")])[0])
    names = [[node and node.name for node in (getattr(g, one) for one in parts)] for g in found]
    assert names == [["a2", "a3", "short", "b1", "b2"], ["b2", None, "b3", "c1", "c2"]]
    assert [group.is_inner for group in found] == [True, False]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("n", "height", "width"), [(1, 9, 7), (16, 8, 7), (4, 12, 30), (3, 5, 40), (1, 2, 2)]
)
def test_residual_blocks(stride, n, height, width):
    compare(blocks(stride), [Of("c2")], torch.randn(n, CHANNELS, height, width))


def test_values_in_half_the_space():
    compare(blocks(1), [Of("c2")], torch.randn(4, CHANNELS, 9, 29), dtype=torch.bfloat16)


def test_inputs_in_blocks_and_nothing_kept():
    x = torch.randn(5, CHANNELS, 10, 24)
    compare(blocks(2), [Of("c2")], x, density=0.9)
    compare(blocks(2), [Of("c2")], x, density=0.0)


VIEW = Node("view", "aten.transpose.int", {"self": Of("short"), "dim0": 2, "dim1": 3})
KEPT = {
    "an output": (blocks(1), [Of("c2"), Of("short"), Of("b3")]),
    "a view of it": ([*blocks(1)[:4], VIEW, *blocks(1)[4:]], [Of("c2"), Of("view")]),
    "read later": ([*blocks(1), conv("late", "short")], [Of("c2"), Of("late")]),
    "read by the same": (
        [conv("p3", "x"), conv("q3", "p3", residual="p3"), conv("r", "q3")],
        [Of("r"), Of("q3")],
    ),
    "read by a layer that waits": (
        [
            conv("p3", "x"),
            conv("q2", "p3", size=3),
            conv("other3", "x", residual="p3"),
            conv("r3", "q2", residual="other3"),
        ],
        [Of("r3")],
    ),
    "the input": ([conv("d", "x", residual="x"), conv("e", "d")], [Of("e"), Of("d")]),
    "of a shortcut that is read again": (
        [*blocks(1), conv("more", "a3")],
        [Of("c2"), Of("a3"), Of("more")],
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_needed_is_not_written_over(case):
    nodes, outputs = KEPT[case]
    x = torch.randn(4, CHANNELS, 12, 30)
    before = x.clone()
    compare(nodes, outputs, x)
    assert torch.equal(x, before)


def test_residuals_are_written_over(kernels):
    sparse, _ = graph(blocks(1), [Of("c2")])
    assert {"short", "b3"} <= unshared(sparse)
    steps = {step.name: step for step in SparseNetwork(sparse)._steps}
    assert steps["b3"].arguments[2]
    steps = {step.name: step for step in SparseNetwork(graph(*KEPT["a view of it"])[0])._steps}
    assert not steps["b3"].arguments[2]


@pytest.mark.parametrize(("width", "expected"), [(30, 2), (9, 0)])
def test_borders_are_written_with_results_of_long_lines(kernels, monkeypatch, width, expected):
    if kernels is None or kernels.level == "portable":
        pytest.skip("layers are computed one by one")
    network, found = SparseNetwork(graph(blocks(1), [Of("c2")])[0]), []
    whole = joining.with_borders
    monkeypatch.setattr(joining, "with_borders", lambda *given: found.append(1) or whole(*given))
    network(torch.randn(4, CHANNELS, 9, width))
    assert len(found) == expected


def test_threads_give_the_same_bits(kernels):
    if kernels is None:
        pytest.skip("PyTorch decides itself how it splits work")
    network, x = SparseNetwork(graph(blocks(1), [Of("c2")])[0]), torch.randn(8, CHANNELS, 16, 16)
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(network(x)[0])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
