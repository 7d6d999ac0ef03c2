"""Sparse layers against dense ones of PyTorch, on every level of kernels this CPU has."""

import copy
import itertools
import random

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference import building, library
from sparsekit.inference.convolving import max_pool
from sparsekit.inference.graph import Graph, Input, Node, Of
from sparsekit.inference.layers import SparseConv2d, SparseLinear
from sparsekit.inference.rows import sparse_rows
from sparsekit.inference.running import SparseNetwork
from sparsekit.inference.stems import stems


def sample(cases, count):
    """Return some of the combinations, the same each time."""
    return random.Random(0).sample(list(itertools.product(*cases)), count)


def test_the_worked_example(kernels):
    weight = torch.tensor([[0, 1, 0, 2, 0], [0] * 5, [3, 0, 0, 0, 4], [0, 0, 5, 6, 0]]).float()
    bias = torch.tensor([0.1, 0.2, 0.3, 0.4])
    layer = SparseLinear(sparse_rows(weight, weight != 0), bias)
    x = torch.tensor([[1.0, 2, 3, 4, 5], [0, 1, 0, -1, 2]])
    expected = torch.tensor([[10.1, 0.2, 23.3, 39.4], [-0.9, 0.2, 8.3, -5.6]])
    assert torch.allclose(layer(x), expected)
    assert torch.allclose(layer(x[0]), expected[0])
    assert layer(x[:0]).shape == (0, 4)


LINEAR = (
    [5, 130], [7, 900], [1, 2, 7, 8, 9, 17, 64, 80, 81, 197],
    [torch.float32, torch.bfloat16], [False, True], [False, True], [False, True], [None, "relu"],
)  # fmt: skip


def test_linear_layers(kernels):
    torch.manual_seed(0)
    for out, width, batch, dtype, by_feature, transposed, added, activation in sample(LINEAR, 150):
        mask = torch.rand(out, width) < 0.1
        mask[0] = False
        rows = sparse_rows(torch.randn(out, width), mask, dtype=dtype)
        layer = SparseLinear(rows, torch.randn(out), activation=activation)
        layer.by_feature = by_feature
        x = torch.randn(width, batch).t() if transposed else torch.randn(batch, width)
        residual = torch.randn(batch, out) if added else None
        expected = F.linear(x, rows.dense(), layer.bias) + (0 if residual is None else residual)
        expected = expected.relu() if activation else expected
        assert torch.allclose(layer(x, residual), expected, atol=1e-4), (out, width, batch)


FEW = (
    [1, 15, 33], [31, 64, 500], [0.01, 0.05, 0.2, 0.5], [1, 2, 3, 5, 8],
    [torch.float32, torch.bfloat16], [False, True], [None, "relu"],
)  # fmt: skip


def test_few_samples(kernels):
    """Densities that need no slots, all of them, and some; rows of equal and differing length."""
    torch.manual_seed(0)
    for out, width, density, batch, dtype, differing, activation in sample(FEW, 200):
        scale = torch.rand(out, 1) * 2 if differing else torch.ones(out, 1)
        mask = torch.rand(out, width) < density * scale
        rows = sparse_rows(torch.randn(out, width), mask, dtype=dtype)
        layer = SparseLinear(rows, torch.randn(out), activation=activation)
        x, residual = torch.randn(batch, width), torch.randn(batch, out)
        for added in (None, residual):
            expected = F.linear(x, rows.dense(), layer.bias) + (0 if added is None else added)
            expected = expected.relu() if activation else expected
            found = layer(x, added)
            assert torch.allclose(found, expected, atol=1e-4), (out, width, density, batch, dtype)


def test_more_columns_than_16_bits_hold(kernels):
    torch.manual_seed(0)
    mask = torch.rand(20, 70_000) < 0.001
    rows = sparse_rows(torch.randn(20, 70_000), mask)
    x = torch.randn(3, 70_000)
    layer = SparseLinear(rows)
    assert torch.allclose(layer(x), x @ rows.dense().t(), atol=1e-4)
    assert torch.allclose(layer(x[1]), x[1] @ rows.dense().t(), atol=1e-4)


def test_a_chain_keeps_its_layout(kernels):
    torch.manual_seed(0)
    first, second = (
        SparseLinear(sparse_rows(weight, weight > 0.5), activation="relu")
        for weight in (torch.randn(24, 12), torch.randn(6, 24))
    )
    x = torch.randn(3, 5, 12)
    expected = second(first(x))
    first.by_feature = True
    between = first(x)
    assert between.shape == (3, 5, 24)
    if kernels:
        assert between.stride(-1) > 1
    assert torch.allclose(second(between), expected, atol=1e-5)


CONVOLUTIONS = (
    [1, 2, 16, 17], [4, 24], [6, 32], [1, 5, 14], [7, 13, 30], [(1, 1), (3, 3), (2, 5)],
    [(1, 1), (2, 2), (2, 1)], [(0, 0), (1, 1), (2, 1)], [1, 2], [1, 2], [False, True],
    [None, "relu"],
)  # fmt: skip


def test_convolutions(kernels):
    torch.manual_seed(0)
    tried = 0
    for n, channels, out, height, width, kernel, stride, padding, dilation, groups, *rest in sample(
        CONVOLUTIONS, 250
    ):
        added, activation = rest
        extents = zip((height, width), kernel, padding, strict=True)
        if any(size + 2 * p < dilation * (k - 1) + 1 for size, k, p in extents):
            continue
        tried += 1
        weight = torch.randn(out, channels // groups, *kernel)
        mask = torch.rand_like(weight) < 0.2
        options = {"stride": stride, "padding": padding, "groups": groups}
        layer = SparseConv2d(
            sparse_rows(weight, mask), torch.randn(out), kernel_size=kernel,
            dilation=(dilation, dilation), activation=activation, **options,
        )  # fmt: skip
        x = torch.randn(n, channels, height, width)
        expected = F.conv2d(x, weight * mask, layer.bias, dilation=dilation, **options)
        residual = torch.randn_like(expected) if added else None
        expected = expected if residual is None else expected + residual
        expected = expected.relu() if activation else expected
        assert torch.allclose(layer(x, residual), expected, atol=1e-4), (n, kernel, stride, padding)
        assert torch.allclose(layer(x, residual), expected, atol=1e-4)
    assert tried > 150


def test_layouts_of_images(kernels):
    """Whatever lies in memory how, the result is the same; a sparse layer's needs no copy."""
    torch.manual_seed(0)
    weight = torch.randn(8, 8, 3, 3)
    layer = SparseConv2d(sparse_rows(weight, weight > 1), kernel_size=(3, 3), padding=(1, 1))
    x = torch.randn(3, 8, 6, 6)
    expected = layer(layer(x))
    for format in (torch.contiguous_format, torch.channels_last):
        between = layer(x.contiguous(memory_format=format)).contiguous(memory_format=format)
        assert torch.allclose(layer(between), expected, atol=1e-4)
    if kernels:
        assert layer(x).stride(0) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 16])
def test_maxima_of_windows(kernels, n):
    if kernels is None:
        pytest.skip("PyTorch has its own")
    for window, step, padding in (
        ((3, 3), (2, 2), (1, 1)), ((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 3), (1, 0)),
    ):  # fmt: skip
        for size in ((7, 9), (8, 8), (3, 5)):
            x = torch.randn(n, 4, *size)
            x[0, 0, 0, 0] = torch.nan
            found = max_pool(kernels, x, window, step, padding)
            expected = F.max_pool2d(x, window, step, padding)
            assert torch.allclose(found, expected, rtol=0, atol=0, equal_nan=True)


STEMS = (
    [1, 2, 5, 16], [1, 3, 4], [1, 4, 7], [(9, 40), (32, 31)], [(3, 3), (7, 7), (5, 2)],
    [(1, 1), (2, 1), (2, 2)], [(0, 0), (1, 1), (3, 2)], [1, 2], [False, True], [None, "relu"],
    [False, True],
)  # fmt: skip


def test_first_layers_before_sparse_ones(kernels):
    torch.manual_seed(0)
    for n, channels, out, size, window, stride, padding, dilation, *rest in sample(STEMS, 60):
        biased, activation, pooled = rest
        if window[1] <= stride[1] or (size[0] < 12 and (window[0] > 5 or dilation > 1)):
            continue
        weight, x = torch.randn(out, channels, *window), torch.randn(n, channels, *size)
        bias, last = torch.randn(out), torch.randn(3, out, 1, 1)
        places = {"stride": stride, "padding": padding, "dilation": (dilation, dilation)}
        given = {"x": Of("x"), "weight": Of("w"), "bias": Of("b") if biased else None}
        rest = {"residual": None, "groups": 1, "activation": activation}
        nodes = [Node("first", "conv2d", {**given, **rest, **places})]
        expected = F.conv2d(x, weight, bias if biased else None, **places)
        expected = expected.relu() if activation else expected
        if pooled:
            pool = {"self": Of("first"), "kernel_size": [2, 2]}
            nodes.append(Node("pool", "aten.max_pool2d.default", pool))
            expected = F.max_pool2d(expected, 2)
        plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "kernel_size": (1, 1)}
        read = {"x": Of(nodes[-1].name), "weight": Of("v"), "bias": None}
        nodes.append(Node("last", "sparse_conv2d", {**rest, **plain, **read, "activation": None}))
        graph = Graph(
            (Input("x", (None, channels, *size), torch.float32),), tuple(nodes), Of("last"),
            {"w": weight, "b": bias}, {"v": sparse_rows(last, last > 0)},
        )  # fmt: skip
        assert set(stems(graph)) == ({"first"} if kernels else set())
        found = SparseNetwork(graph)(x)
        assert torch.allclose(found, F.conv2d(expected, last * (last > 0)), atol=1e-4), places


def test_several_threads_give_the_same_bits(kernels):
    torch.manual_seed(0)
    weight, image = torch.randn(70, 90), torch.randn(2, 10, 9, 9)
    linear = SparseLinear(sparse_rows(weight, weight > 1))
    wide, samples = torch.randn(300, 700), torch.randn(100, 700)
    larger = SparseLinear(sparse_rows(wide, wide > 1))
    uneven = SparseLinear(sparse_rows(wide, wide > torch.linspace(0, 5, 300)[:, None]))
    empty = SparseLinear(sparse_rows(wide, torch.zeros(300, 700, dtype=torch.bool)))
    convolution = SparseConv2d(
        sparse_rows(weight.view(70, 10, 3, 3), weight.view(70, 10, 3, 3) > 1), kernel_size=(3, 3)
    )
    if kernels is None:
        pytest.skip("PyTorch decides itself how it splits work")
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3, 50):
        torch.set_num_threads(threads)
        try:
            found.append(
                [
                    *(linear(weight[:count]) for count in (1, 5, 70)),
                    *(larger(samples[:count]) for count in (1, 20, 100)),
                    *(layer(samples[:count]) for layer in (uneven, empty) for count in (1, 3)),
                    convolution(image),
                ]
            )
        finally:
            torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_refusals():
    rows = sparse_rows(torch.ones(4, 6), torch.ones(4, 6, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"take float32, got torch.float64"):
        SparseLinear(rows)(torch.ones(1, 6).double())
    with pytest.raises(ValueError, match=r"4 rows have no bias of shape \(3,\)"):
        SparseLinear(rows, torch.ones(3))
    with pytest.raises(ValueError, match=r"4 rows of 6 columns are no convolution of \(2, 2\)"):
        SparseConv2d(rows, kernel_size=(2, 2))
    layer = SparseConv2d(rows, kernel_size=(1, 1))
    with pytest.raises(ValueError, match=r"expected \[N, 6, H, W\], got \(1, 5, 2, 2\)"):
        layer(torch.ones(1, 5, 2, 2))
    wide = SparseConv2d(rows, kernel_size=(2, 3))
    with pytest.raises(ValueError, match="too small"):
        wide(torch.ones(1, 1, 1, 3))


def test_tensors_without_content_have_results_without_content(kernels):
    rows = sparse_rows(torch.ones(4, 6), torch.ones(4, 6, dtype=torch.bool))
    assert SparseLinear(rows)(torch.ones(1, 6, device="meta")).shape == (1, 4)
    image = torch.ones(2, 6, 3, 3, device="meta")
    found = SparseConv2d(rows, kernel_size=(1, 1))(image)
    assert (found.is_meta, found.shape) == (True, (2, 4, 3, 3))


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(building.CannotBuild, match="no C compiler"):
        building.build("portable", tmp_path)
    monkeypatch.setenv("CC", "/bin/false")
    with pytest.raises(building.CannotBuild, match="refused the portable kernels"):
        building.build("portable", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("level", building.LEVELS)
def test_compilers_have_no_complaint(level):
    """A constant that one header takes from another would not be noticed otherwise."""
    options = [*building._OPTIONS, *building.LEVELS[level], "-fopenmp", "-Werror", "-fsyntax-only"]
    command = [building.compiler(), *options, str(building.SOURCES / "kernels.c")]
    assert building._refusal(command) == ""


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("sse", "SPARSEKIT_KERNELS=sse is not one of avx512, avx2, portable, torch"), ("avx512", "")],
)
def test_choosing_a_level(monkeypatch, wanted, message):
    monkeypatch.setenv("SPARSEKIT_KERNELS", wanted)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(ValueError, match=message or "this CPU has AVX2 at most"):
        library.level()


def test_copies_of_what_has_run(kernels):
    torch.manual_seed(0)
    weight, x = torch.randn(40, 90), torch.randn(20, 90)
    linear = SparseLinear(sparse_rows(weight, weight > 1), torch.randn(40))
    images = torch.randn(2, 10, 6, 6)
    convolution = SparseConv2d(sparse_rows(weight, weight > 1), kernel_size=(3, 3))
    for layer, inputs in ((linear, x), (linear, x[:1]), (convolution, images)):
        expected = layer(inputs)
        assert torch.equal(copy.deepcopy(layer)(inputs), expected)
