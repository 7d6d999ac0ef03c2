"""Layerwise densities: recorded networks, budgets that are spent, and what is infeasible."""

import math
import re

import pytest

from sparsekit.core import densities
from sparsekit.core.counts import budget

SHAPES = {"conv1": (4, 3, 3, 3), "conv2": (6, 4, 3, 3), "shortcut": (6, 4, 1, 1), "fc": (5, 6)}
SCHEMES = {
    "ERK": densities.erk_densities,
    "ER": densities.erdos_renyi_densities,
    "uniform_plus": densities.uniform_plus_densities,
    "uniform": lambda shapes, density: dict.fromkeys(shapes, density),
}


def cases(data, kind):
    """Yield scheme, shapes, density and record of every case."""
    for case, recorded in data[kind].items():
        network, scheme, density = case.rsplit("|", 2)
        yield scheme, data["shapes"][network], float(density.removeprefix("density=")), recorded


def spent(result, shapes) -> float:
    """Return the density of the whole network."""
    sizes = densities.num_weights(shapes)
    return sum(result[name] * sizes[name] for name in sizes) / sum(sizes.values())


def test_densities_equal_the_recorded_ones(vectors) -> None:
    checked = 0
    for scheme, shapes, density, recorded in cases(vectors("densities"), "cases"):
        if scheme != "uniform_plus":
            result = SCHEMES[scheme](shapes, density=density)
            assert list(result.values()) == pytest.approx(recorded, abs=1e-9)
            assert spent(result, shapes) == pytest.approx(density, rel=1e-12)
            checked += 1
    assert checked == 18


def test_uniform_plus_spends_the_budget_that_the_recorded_one_misses(vectors) -> None:
    checked = 0
    for scheme, shapes, density, recorded in cases(vectors("densities"), "cases"):
        if scheme != "uniform_plus":
            continue
        sizes = densities.num_weights(shapes)
        size, stem, last = sum(sizes.values()), sizes["conv.weight"], sizes["fc.weight"]
        theirs = dict(zip(shapes, recorded, strict=True))
        ours = densities.uniform_plus_densities(shapes, density=density)
        assert spent(ours, shapes) == pytest.approx(density, rel=1e-12)
        assert ours["conv.weight"] == theirs["conv.weight"] == 1.0
        middle = [name for name in shapes if name not in ("conv.weight", "fc.weight")]
        assert len({ours[name] for name in middle} | {theirs[name] for name in middle}) == 2
        found, recorded_common = ours[middle[0]], theirs[middle[0]]
        if density < 0.2:
            # what is left for the layers between, over all weights instead of over theirs
            assert ours["fc.weight"] == theirs["fc.weight"] == 0.2
            assert recorded_common * size == pytest.approx(found * (size - stem - last))
            assert spent(theirs, shapes) < 0.999 * density
        else:
            # the dense stem comes on top
            assert recorded_common == theirs["fc.weight"] == density
            left = density * size - stem - ours["fc.weight"] * last
            assert found == pytest.approx(left / (size - stem - last), rel=1e-12)
            assert ours["fc.weight"] == pytest.approx(max(found, 0.2))
            assert spent(theirs, shapes) > 1.001 * density
        checked += 1
    assert checked == 4


def test_uniform_plus_has_densities_where_the_reference_crashes(vectors) -> None:
    checked = 0
    for scheme, shapes, density, error in cases(vectors("densities"), "errors"):
        assert (scheme, error) == ("uniform_plus", "KeyError: 'conv.weight'")
        result = list(densities.uniform_plus_densities(shapes, density=density).values())
        assert result[0] == 1.0
        assert len(set(result[1:-1])) == 1
        assert result[-1] == pytest.approx(max(result[1], 0.2))
        checked += 1
    assert checked == 4


def test_recorded_draws_scatter_around_the_densities(vectors) -> None:
    data = vectors("densities")
    checked = 0
    for scheme, shapes, density, drawn in cases(data, "sampled"):
        if scheme != "uniform_plus":
            result = SCHEMES[scheme](shapes, density=density)
            for (name, part), found in zip(result.items(), drawn, strict=True):
                scale = math.sqrt(part * (1 - part) / math.prod(shapes[name]))
                assert abs(found - part) <= 4 * scale + 1e-7
            checked += 1
    assert checked == 9
    for scheme, shapes, density, drawn in cases(data, "sampled_global"):
        if scheme != "uniform_plus":
            size = sum(densities.num_weights(shapes).values())
            # independent draws miss the budget that counts meet
            assert 0 < abs(drawn - density) < 4 * math.sqrt(density / size)
            assert round(drawn * size) != budget(size, 1 - density)


def test_erk_equals_the_recorded_networks(vectors) -> None:
    for case in vectors("erk")["cases"]:
        shapes = {name: shape for name, shape, _, _ in case["layers"]}
        result = densities.erk_densities(shapes, density=1 - case["sparsity"])
        dense = sorted(name for name, density in result.items() if density == 1.0)
        assert dense == sorted(case["dense_layers"])
        for name, shape, density, _ in case["layers"]:
            # the reference rounds each layer down before it solves for epsilon
            assert result[name] == pytest.approx(density, abs=2e-5)
            if name not in dense:
                epsilon = result[name] * math.prod(shape) / sum(shape)
                assert epsilon == pytest.approx(case["eps"], rel=1e-4)


def test_uniform_plus_without_a_convolution_has_no_dense_layer() -> None:
    result = densities.uniform_plus_densities({"a": (10, 10), "b": (10, 10)}, density=0.15)
    assert result == pytest.approx({"a": 0.1, "b": 0.2})


def test_erk_plus_holds_the_last_layer() -> None:
    shapes = {"a": (8, 8), "b": (8, 24), "c": (2, 8)}
    result = densities.erk_plus_densities(shapes, density=0.3)
    assert result == pytest.approx({"a": 65.6 / 3 / 64, "b": 65.6 * 2 / 3 / 192, "c": 1.0})
    result = densities.erk_plus_densities(shapes, density=0.3, last_density=0.5)
    assert result == pytest.approx({"a": 73.6 / 3 / 64, "b": 73.6 * 2 / 3 / 192, "c": 0.5})


def test_erk_plus_is_erk_of_the_others(vectors) -> None:
    for case in vectors("erk")["cases"]:
        shapes = {name: shape for name, shape, _, _ in case["layers"]}
        *names, last = shapes
        sizes = densities.num_weights(shapes)
        rest = sum(sizes[name] for name in names)
        for density in (0.1, 0.2, 0.5):
            result = densities.erk_plus_densities(shapes, density=density)
            left = (density * sum(sizes.values()) - sizes[last]) / rest
            others = densities.erk_densities({name: shapes[name] for name in names}, density=left)
            assert result == pytest.approx(others | {last: 1.0}, rel=1e-9)
            assert spent(result, shapes) == pytest.approx(density, rel=1e-12)


def test_erk_plus_refuses_the_negative_densities_of_its_reference(vectors) -> None:
    """ResNet-50 at 5 %: a dense head alone is 8 %, and the reference zeroes all other layers."""
    case = next(case for case in vectors("erk")["cases"] if case["network"] == "resnet50_tv")
    shapes = {name: shape for name, shape, _, _ in case["layers"]}
    with pytest.raises(ValueError, match=r"smallest feasible number is 2048000 .* 0.080305, "):
        densities.erk_plus_densities(shapes, density=0.05)
    assert densities.erk_plus_densities(shapes, density=0.080305)["fc"] == 1.0
    result = densities.erk_plus_densities(shapes, density=0.05, last_density=0.5)
    assert min(result.values()) > 0


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (densities.uniform_plus_densities, 0.2),
        (densities.erk_plus_densities, 0.05),
        (
            lambda shapes, *, density: densities.erk_plus_densities(
                shapes, density=density, last_density=0.5
            ),
            0.99,
        ),
    ],
)
def test_the_feasible_density_that_is_named_can_be_asked_for(call, wanted) -> None:
    with pytest.raises(ValueError, match="feasible") as caught:
        call(SHAPES, density=wanted)
    found = re.search(r"number is (\d+) \(density ([\d.]+), sparsity ([\d.]+)\)", str(caught.value))
    assert found is not None
    num_kept, density, sparsity = int(found[1]), float(found[2]), float(found[3])
    assert density + sparsity == pytest.approx(1)
    size = sum(densities.num_weights(SHAPES).values())
    assert spent(call(SHAPES, density=density), SHAPES) == pytest.approx(density)
    assert budget(size, sparsity) == num_kept
    beyond = num_kept + (1 if wanted > density else -1)
    with pytest.raises(ValueError, match=f"number is {num_kept} "):
        call(SHAPES, density=beyond / size)


def test_a_density_is_a_fraction() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.1"):
        densities.erk_densities(SHAPES, density=1.1)
