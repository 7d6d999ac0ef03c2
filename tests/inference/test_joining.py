"""Convolutions that are computed together give what each gives by itself, and nothing is lost."""

import dataclasses

import pytest
import torch

from sparsekit.inference import joining, stages
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


def narrowing(stride, size=3):
    """Return two residual blocks, of which the second reads every k-th position."""
    return [
        conv("p3", "x"),
        conv("a1", "p3"),
        conv("a2", "a1", size=size),
        conv("a3", "a2", residual="p3"),
        conv("b1", "a3"),
        conv("b2", "b1", size=size, stride=stride),
        conv("b3", "b2", activation=None),
        conv("short", "a3", stride=stride, residual="b3"),
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
    parts = ("before", "added", "first", "after", "reader", "other")

    def names(nodes):
        found = groups(graph(nodes, [Of(nodes[-1].name)])[0])
        return [[node and node.name for node in (getattr(g, one) for one in parts)] for g in found]

    assert names(blocks(2)) == [
        [None, None, "a1", None, None, "a2"],
        ["a2", "a3", "short", "b1", "b2", None],
        ["b2", None, "b3", "c1", "c2", None],
    ]
    assert [group.is_inner for group in groups(graph(blocks(2), [Of("c2")])[0])] == [0, 1, 0]
    assert names(narrowing(2))[1:] == [
        ["a2", None, "a3", "b1", "b2", "short"],
        ["b2", "b3", "short", None, None, None],
    ]
    assert names(narrowing(1))[1] == ["a2", None, "a3", "b1", "b2", None]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("n", "height", "width"), [(1, 9, 7), (16, 8, 7), (4, 12, 30), (3, 5, 40), (1, 2, 2)]
)
def test_residual_blocks(stride, n, height, width):
    compare(blocks(stride), [Of("c2")], torch.randn(n, CHANNELS, height, width))


@pytest.fixture(params=["near", "far"])
def distance(request, monkeypatch):
    """Let all results be near when they are read again, or none."""
    monkeypatch.setattr(stages, "_FAR", {"near": 1 << 30, "far": 0}[request.param])


@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 3), (2, 5), (3, 3), (3, 1), (2, 1)])
@pytest.mark.parametrize(
    ("n", "height", "width"), [(16, 9, 8), (8, 8, 15), (4, 7, 33), (3, 5, 40), (1, 6, 117)]
)
def test_blocks_that_narrow_images(distance, stride, size, n, height, width):
    x = torch.randn(n, CHANNELS, height, width)
    compare(narrowing(stride, size), [Of("short")], x)


@pytest.mark.usefixtures("distance")
def test_what_goes_far_from_blocks_of_one_size():
    compare(blocks(1), [Of("c2")], torch.randn(16, CHANNELS, 9, 11))
    compare(
        [conv("p3", "x"), conv("q2", "p3", size=3)], [Of("q2")], torch.randn(8, CHANNELS, 7, 20)
    )
    nodes = [conv("p3", "x"), conv("q3", "p3"), conv("r2", "p3", size=3), conv("s2", "q3", size=3)]
    compare(nodes, [Of("r2"), Of("s2")], torch.randn(8, CHANNELS, 7, 20))


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


COPIES = {
    "long lines": (blocks(1), 4, 30, [False, False, False]),
    "short lines": (blocks(1), 4, 9, []),
    "gaps": (narrowing(2), 4, 30, [False, True, True]),
    "gaps, but positions that tiles would share": (narrowing(2), 3, 40, [False]),
}


@pytest.mark.parametrize("case", COPIES)
def test_results_of_long_lines_are_written_as_their_readers_copy_them(kernels, monkeypatch, case):
    if kernels is None or kernels.level == "portable":
        pytest.skip("layers are computed one by one")
    nodes, n, width, expected = COPIES[case]
    network, found = SparseNetwork(graph(nodes, [Of(nodes[-1].name)])[0]), []

    def with_borders(library, reading, *given):
        found.append(reading.has_gaps)
        return whole(library, reading, *given)

    whole = joining.with_borders
    monkeypatch.setattr(joining, "with_borders", with_borders)
    network(torch.randn(n, CHANNELS, 9, width))
    assert found == expected


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
