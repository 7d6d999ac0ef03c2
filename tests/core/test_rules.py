"""Drop-and-grow of one layer: tables, reference vectors, a plain-loop SRigL, exact counts."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsekit.core import rules

RULES = [
    rules.set_rule,
    rules.rigl_rule,
    partial(rules.set_rule, regrow=False),
    partial(rules.rigl_rule, regrow=False),
    rules.srigl_rule,
    partial(rules.srigl_rule, gamma_sal=0.95, ablated="permanent", normalise=True),
]


@pytest.mark.parametrize(
    ("weight", "gradient", "fraction", "regrow", "expected"),
    [
        # the smaller goes, the largest gradient of the inactive comes; signs do not matter
        ([[3.0, -1.0, 0.0, 0.0]], [[9.0, 0.0, -2.0, 1.0]], 0.5, True, [[1, 0, 1, 0]]),
        # dropped and grown again, or not
        ([[3.0, 1.0, 0.0, 0.0]], [[0.0, 5.0, 2.0, 1.0]], 0.5, True, [[1, 1, 0, 0]]),
        ([[3.0, 1.0, 0.0, 0.0]], [[0.0, 5.0, 2.0, 1.0]], 0.5, False, [[1, 0, 1, 0]]),
        # of equal weights the higher index goes, of equal gradients the lower comes
        ([[1.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 2.0, 2.0]], 0.5, True, [[1, 0, 1, 0]]),
        # rounded down: a third of two is nothing
        ([[3.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 2.0, 1.0]], 0.34, True, [[1, 1, 0, 0]]),
        # all of it, with too few inactive for as many
        ([[3.0, 1.0, 2.0, 0.0]], [[1.0, 0.0, 0.0, 2.0]], 1.0, False, [[1, 0, 1, 1]]),
        ([[3.0, 1.0, 2.0, 0.0]], [[1.0, 0.0, 0.5, 2.0]], 1.0, True, [[1, 0, 1, 1]]),
    ],
)
def test_rigl(weight, gradient, fraction, regrow, expected) -> None:
    weight, gradient = torch.tensor(weight), torch.tensor(gradient)
    moved = rules.rigl_rule(weight, gradient, weight != 0, fraction, 0, regrow=regrow)
    assert moved.int().tolist() == expected


def test_rigl_knows_active_zeros_from_inactive_weights() -> None:
    weight, mask = torch.zeros(1, 4), torch.tensor([[False, True, True, False]])
    moved = rules.rigl_rule(weight, torch.tensor([[1.0, 0.0, 0.0, 2.0]]), mask, 0.5, 0)
    assert moved.int().tolist() == [[0, 1, 0, 1]]


@pytest.mark.parametrize("name", ["rigl_4x6", "srigl_noabl_4x6", "srigl_gamma0.3_4x6"])
def test_recorded_updates(vectors, name) -> None:
    case = vectors("rewire")["cases"][name]
    weight, gradient = torch.tensor(case["W_in"]), torch.tensor(case["dense_grad"])
    rule = rules.rigl_rule
    if name.startswith("srigl"):
        rule = partial(rules.srigl_rule, gamma_sal=case.get("gamma_sal", 0.0))
    moved = rule(weight, gradient, torch.tensor(case["mask_in"]) > 0, case["drop_fraction"], 0)
    assert moved.int().tolist() == case["mask_out"]


def test_srigl_cuts_a_row_to_its_largest_weights() -> None:
    """The authors' code cuts to the first columns, which hold the smallest here."""
    weight = torch.tensor([[0.51, 0.52, 0.53, 0.97, 0.98, 0.99, 0.0, 0.0], [0.0] * 8])
    gradient = torch.cat([torch.zeros(1, 8), torch.arange(1.0, 9.0)[None]])
    moved = rules.srigl_rule(weight, gradient, weight != 0, 0.01, 0)
    assert moved.int().tolist() == [[1, 1, 1, 1, 1, 1, 0, 0], [0] * 8]
    moved = rules.srigl_rule(weight, gradient, weight != 0, 0.2, 0)
    assert moved.int().tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]


def test_srigl_fills_by_gradient_what_ablation_leaves_free() -> None:
    """The authors' code pads with the first inactive columns, whatever their gradient."""
    weight, gradient = torch.zeros(3, 12), torch.zeros(3, 12)
    weight[0, :4], weight[1, :4], weight[2, :4] = 3.0, 2.0, 0.1
    gradient[:2, 9:] = torch.tensor([3.0, 2.0, 1.0])
    moved = rules.srigl_rule(weight, gradient, weight != 0, 0.1, 0, gamma_sal=0.9)
    assert moved.any(dim=1).tolist() == [True, True, True], "budget needs one row, salient enough"
    gradient[2] = 0.0
    moved = rules.srigl_rule(weight, gradient, weight != 0, 0.34, 0, gamma_sal=0.5)
    row = [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0]
    assert moved.int().tolist() == [row, row, [0] * 12]


def test_ablated_rows_revive_unless_permanent() -> None:
    weight, gradient = torch.zeros(3, 6), torch.full((3, 6), 0.1)
    weight[:2, :3] = torch.tensor([3.0, 2.0, 1.0])
    gradient[2] = 5.0
    moved = partial(rules.srigl_rule, weight, gradient, weight != 0, 0.5, 0, gamma_sal=0.5)
    assert moved().sum(dim=1).tolist() == [2, 2, 2]
    assert moved(ablated="permanent").sum(dim=1).tolist() == [3, 3, 0]


def test_normalised_growth_is_blind_to_the_scale_of_a_row() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient, mask = _layer(generator, rows=8, columns=30, fan_in=6, num_empty=2)
    scale = 10.0 ** torch.arange(-3, 5).flip(0)[:, None]
    moved = partial(rules.srigl_rule, fraction=0.5, seed=0, gamma_sal=0.9)
    blind = moved(weight, gradient, mask, normalise=True)
    assert torch.equal(blind, moved(weight, gradient * scale, mask, normalise=True))
    assert not torch.equal(moved(weight, gradient * scale, mask), moved(weight, gradient, mask))


def _layer(
    generator: torch.Generator, *, rows: int, columns: int, fan_in: int, num_empty: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights and gradients whose rows differ in scale by orders of magnitude, some rows empty."""
    weight = torch.randn(rows, columns, generator=generator)
    gradient = torch.randn(rows, columns, generator=generator)
    scales = 10.0 ** (4 * torch.rand(2, rows, 1, generator=generator) - 2)
    order = torch.rand(rows, columns, generator=generator).argsort(dim=1)
    active = rows - num_empty
    mask = order < fan_in * rows // active
    mask[torch.randperm(rows, generator=generator)[:num_empty]] = False
    return weight * scales[0] * mask, gradient * scales[1], mask


def _srigl_in_loops(weight, gradient, mask, fraction, *, gamma_sal, ablated, normalise) -> Tensor:
    """SRigL, one neuron and one weight at a time, over lists."""
    w, g, m = weight.abs().tolist(), gradient.abs().tolist(), mask.tolist()
    rows, columns = len(w), len(w[0])
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    num_active = sum(map(sum, m))
    fan_in = math.ceil(num_active / rows)
    positive = [(i, j) for i, j in cells if m[i][j] and w[i][j] > 0]
    num_keep = min(num_active - math.floor(num_active * fraction), len(positive))
    largest = sorted(positive, key=lambda c: -w[c[0]][c[1]])
    kept = set(largest[:num_keep])
    candidates = [i for i in range(rows) if ablated == "revive" or any(m[i])]
    alive = candidates
    if gamma_sal > 0:
        compared = gradient.abs() / gradient.abs().mean(dim=1, keepdim=True)
        c = (compared if normalise else gradient.abs()).tolist()
        order = sorted(cells, key=lambda x: (x[0] not in candidates, -c[x[0]][x[1]]))
        salient = kept | set(order[: num_active - num_keep])
        count = {i: sum(cell[0] == i for cell in salient) for i in candidates}
        tau = gamma_sal if gamma_sal >= 1 else max(1, math.floor(gamma_sal * fan_in + 1e-9))
        ranked = sorted(count.values(), reverse=True)
        tau = min(tau, ranked[fan_in * rows // columns])
        alive = [i for i in candidates if count[i] >= tau]
    new_fan_in = fan_in * rows // len(alive)
    kept = set([cell for cell in largest if cell[0] in alive][:num_keep])
    result = torch.zeros_like(mask)
    for i in alive:
        mine = sorted((j for k, j in kept if k == i), key=lambda j: -w[i][j])[:new_fan_in]
        others = sorted((j for j in range(columns) if j not in mine), key=lambda j: -g[i][j])
        result[i, mine + others[: new_fan_in - len(mine)]] = True
    return result


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("ablated", ["revive", "permanent"])
@pytest.mark.parametrize("gamma_sal", [0.0, 0.3, 0.7, 0.95, 4])
def test_srigl_equals_plain_loops_on_rows_of_differing_scale(gamma_sal, ablated, normalise) -> None:
    options = {"gamma_sal": gamma_sal, "ablated": ablated, "normalise": normalise}
    generator = torch.Generator().manual_seed(0)
    num_ablated = num_revived = 0
    for case in range(30):
        num_empty = (0, 1, 5)[case % 3]
        weight, gradient, mask = _layer(
            generator, rows=12, columns=25, fan_in=4 + case % 4, num_empty=num_empty
        )
        if case % 5 == 0:
            weight[:, ::2] = 0.0  # weights that never moved
        fraction = (0.05, 0.3, 0.6)[case % 3 if case % 2 else case % 2]
        moved = rules.srigl_rule(weight, gradient, mask, fraction, 0, **options)
        assert torch.equal(moved, _srigl_in_loops(weight, gradient, mask, fraction, **options))
        before, after = mask.any(dim=1), moved.any(dim=1)
        num_ablated += int((before & ~after).sum())
        num_revived += int((~before & after).sum())
    if not normalise:
        assert (num_ablated > 0) == (gamma_sal > 0)
    assert (num_revived > 0) == (ablated == "revive")


def test_the_budget_survives_any_number_of_ablations_and_revivals() -> None:
    generator = torch.Generator().manual_seed(1)
    _, _, mask = _layer(generator, rows=40, columns=90, fan_in=7, num_empty=0)
    seen = set()
    for step in range(40):
        weight, gradient, _ = _layer(generator, rows=40, columns=90, fan_in=7, num_empty=0)
        gamma_sal = (0.9, 0.3, 0.99, 0.0)[step % 4]
        weight = torch.where(mask, weight + 1e-9, 0.0)
        mask = rules.srigl_rule(weight, gradient, mask, 0.3, 0, gamma_sal=gamma_sal)
        num_active = int(mask.any(dim=1).sum())
        seen.add(num_active)
        assert int(mask.sum()) == 280 // num_active * num_active
    assert 40 in seen
    assert len(seen) > 5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(6, 10), (6, 5, 3, 2)])
@given(fraction=st.floats(0, 1), seed=st.integers(0, 99), num_empty=st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_promises_of_every_rule(rule, shape, fraction, seed, num_empty) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = math.prod(shape[1:])
    layer = _layer(generator, rows=shape[0], columns=size, fan_in=4, num_empty=num_empty)
    weight, gradient, mask = (tensor.view(shape) for tensor in layer)
    given_in = [tensor.clone() for tensor in (weight, gradient, mask)]
    moved = rule(weight, gradient, mask, fraction, seed)
    assert moved.dtype == torch.bool
    assert moved.shape == mask.shape
    assert torch.equal(moved, rule(weight, gradient, mask, fraction, seed))
    for before, after in zip(given_in, (weight, gradient, mask), strict=True):
        assert torch.equal(before, after)
    if rule in RULES[:4]:
        assert moved.sum() == mask.sum()
    else:
        per_row = moved.flatten(1).sum(dim=1)
        assert len(per_row[per_row > 0].unique()) == 1


@pytest.mark.parametrize("rule", RULES)
def test_moves_something_and_nothing_at_fraction_0(rule) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient, mask = _layer(generator, rows=20, columns=50, fan_in=9, num_empty=0)
    assert not torch.equal(rule(weight, gradient, mask, 0.3, 0), mask)
    still = rule(weight, gradient, mask, 0.0, 0)
    assert torch.equal(still, mask)
    assert still.data_ptr() != mask.data_ptr()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [True, False])
def test_full_and_empty_layers_stay(rule, value) -> None:
    mask = torch.full((3, 4), value)
    assert torch.equal(rule(torch.ones(3, 4) * mask, torch.ones(3, 4), mask, 0.5, 0), mask)


def test_set_draws_from_its_seed_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient, mask = _layer(generator, rows=20, columns=50, fan_in=9, num_empty=0)
    first = rules.set_rule(weight, gradient, mask, 0.5, 1)
    torch.manual_seed(99)
    assert torch.equal(first, rules.set_rule(weight, -gradient, mask, 0.5, 1))
    assert not torch.equal(first, rules.set_rule(weight, gradient, mask, 0.5, 2))


@pytest.mark.parametrize("rule", RULES)
def test_memory_layout_and_low_precision_change_nothing(rule) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient, mask = (
        tensor.view(8, 6, 3, 3)
        for tensor in _layer(generator, rows=8, columns=54, fan_in=9, num_empty=0)
    )
    weight, gradient = weight.bfloat16(), gradient.bfloat16()
    expected = rule(weight.float(), gradient.float(), mask, 0.5, 0)
    if rule is not RULES[-1]:  # whose means of rows are rounded
        assert torch.equal(expected, rule(weight, gradient, mask, 0.5, 0))
    last = [t.contiguous(memory_format=torch.channels_last) for t in (weight, gradient, mask)]
    assert torch.equal(rule(weight, gradient, mask, 0.5, 0), rule(*last, 0.5, 0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda *a: rules.rigl_rule(*a, 1.5, 0), r"\[0, 1\], got 1.5"),
        (lambda *a: rules.srigl_rule(*a, -0.1, 0), r"\[0, 1\], got -0.1"),
        (lambda *a: rules.srigl_rule(*a, 0.3, 0), r"constant fan-in .* \[1, 2\]"),
        (lambda *a: rules.srigl_rule(*a, 0.3, 0, gamma_sal=-1), "gamma_sal .* got -1"),
        (lambda *a: rules.srigl_rule(*a, 0.3, 0, min_salient=0), "min_salient .* got 0"),
        (lambda *a: rules.srigl_rule(*a, 0.3, 0, ablated="no"), "'no' is none of 'revive'"),
    ],
)
def test_mistakes_are_named(call, message) -> None:
    mask = torch.tensor([[True, False, False], [True, True, False]])
    if "1, 2" not in message:
        mask = mask & torch.tensor([True, False, False])
    with pytest.raises(ValueError, match=message):
        call(mask.float(), mask.float(), mask)
