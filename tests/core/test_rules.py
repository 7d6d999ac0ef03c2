"""Drop-and-grow of one layer: tables, reference vectors, a plain-loop SRigL, exact counts."""

import math
import random
from fractions import Fraction
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


def test_a_fraction_that_floating_point_makes_too_small_moves_what_it_says() -> None:
    fraction = 0.3 + (0.0 - 0.3) * (1 / 3)  # along a linear decay: 0.19999999999999998
    weight = torch.arange(1.0, 21.0).view(2, 10) * (torch.arange(20).view(2, 10) < 10)
    moved = rules.rigl_rule(weight, torch.arange(20.0).view(2, 10), weight != 0, fraction, 0)
    assert int((moved & (weight == 0)).sum()) == 2


@pytest.mark.parametrize("rule", RULES)
def test_a_vector_moves_like_a_matrix_of_one_column(rule) -> None:
    weight, gradient = torch.tensor([3.0, 1.0, 2.0, 0, 0]), torch.tensor([0.0, 0, 0, 5, 4])
    moved = rule(weight, gradient, weight != 0, 0.34, 0)
    column = rule(weight[:, None], gradient[:, None], weight[:, None] != 0, 0.34, 0)
    assert torch.equal(moved, column.flatten())


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
    generator = torch.Generator().manual_seed(1)
    weight, gradient, mask = _layer(generator, (8, 30), fan_in=6, num_empty=2)
    scale = 10.0 ** torch.arange(-3, 5).flip(0)[:, None]
    moved = partial(rules.srigl_rule, fraction=0.5, seed=0, gamma_sal=0.9)
    blind = moved(weight, gradient, mask, normalise=True)
    assert torch.equal(blind, moved(weight, gradient * scale, mask, normalise=True))
    assert not torch.equal(moved(weight, gradient * scale, mask), moved(weight, gradient, mask))


def _layer(
    generator: torch.Generator, shape: tuple[int, ...], *, fan_in: int, num_empty: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights and gradients whose rows differ in scale by orders of magnitude, some rows empty."""
    rows, columns = shape[0], math.prod(shape[1:])
    scales = 10.0 ** (4 * torch.rand(2, rows, 1, generator=generator) - 2)
    weight, gradient = scales * torch.randn(2, rows, columns, generator=generator)
    order = torch.rand(rows, columns, generator=generator).argsort(dim=1)
    mask = order < fan_in * rows // (rows - num_empty)
    mask[torch.randperm(rows, generator=generator)[:num_empty]] = False
    return (weight * mask).view(shape), gradient.view(shape), mask.view(shape)


def _srigl_in_loops(
    weight, gradient, mask, fraction, *, gamma_sal, min_salient, ablated, normalise, budget
) -> Tensor:
    """SRigL as its paper states it, one weight at a time, over lists."""
    w, g, m = (t.flatten(1).abs().tolist() for t in (weight, gradient, mask.int()))
    rows, columns = len(w), len(w[0])
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    num_active = sum(map(sum, m))
    budget = budget or math.ceil(num_active / rows) * rows
    positive = [(i, j) for i, j in cells if m[i][j] and w[i][j] > 0]
    num_keep = min(num_active - int(Fraction(str(fraction)) * num_active), len(positive))
    largest = sorted(positive, key=lambda c: -w[c[0]][c[1]])
    alive = candidates = [i for i in range(rows) if ablated == "revive" or any(m[i])]
    if gamma_sal > 0:
        mean = gradient.flatten(1).abs().mean(dim=1, keepdim=True)
        c = (gradient.flatten(1).abs() / (mean if normalise else 1.0)).nan_to_num().tolist()
        order = sorted(cells, key=lambda x: (x[0] not in candidates, -c[x[0]][x[1]]))
        salient = set(largest[:num_keep]) | set(order[: num_active - num_keep])
        num = {i: sum(cell[0] == i for cell in salient) for i in candidates}
        tau = max(min_salient, int(Fraction(str(gamma_sal)) * (budget // rows)))
        tau = gamma_sal if gamma_sal >= 1 else tau
        ranked = [*sorted(num.values(), reverse=True), *[0] * rows]
        tau = min(tau, ranked[budget // columns])
        alive = [i for i in candidates if num[i] >= tau]
    fan_in = min(budget // len(alive), columns)
    kept = [cell for cell in largest if cell[0] in alive][:num_keep]
    result = torch.zeros(rows, columns, dtype=torch.bool)
    for i in alive:
        mine = sorted((j for k, j in kept if k == i), key=lambda j: -w[i][j])[:fan_in]
        others = sorted((j for j in range(columns) if j not in mine), key=lambda j: -g[i][j])
        result[i, mine + others[: fan_in - len(mine)]] = True
    return result.view(mask.shape)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("ablated", ["revive", "permanent"])
@pytest.mark.parametrize("gamma_sal", [0.0, 0.3, 0.7, 0.95, 1, 4, 4.5])
def test_srigl_equals_plain_loops_on_rows_of_differing_scale(gamma_sal, ablated, normalise) -> None:
    generator, draw = torch.Generator().manual_seed(0), random.Random(0)
    seen = torch.zeros(5)
    for case in range(40):
        shape = draw.choice([(12, 25), (8, 3, 3, 3), (5, 2, 1, 3), (9, 16, 1, 1)])
        rows, columns = shape[0], math.prod(shape[1:])
        num_empty = draw.choice([0, 1, rows // 2])
        fan_in = draw.randint(1, columns * (rows - num_empty) // rows - 1)
        weight, gradient, mask = _layer(generator, shape, fan_in=fan_in, num_empty=num_empty)
        if case % 4 == 0:  # weights that never moved
            weight[:, ::2] = 0.0
        if case % 3 == 0:  # ties, and rows without any gradient
            weight, gradient = (t.clamp(-2, 2).mul(2).round() for t in (weight, gradient))
        budgets = [None, fan_in * rows + draw.randrange(rows), draw.randint(rows, mask.numel())]
        options = {"gamma_sal": gamma_sal, "ablated": ablated, "normalise": normalise}
        options |= {"min_salient": draw.choice([1, 2]), "budget": draw.choice(budgets)}
        fraction = draw.choice([0.05, 0.29, 0.6, 1.0])
        moved = rules.srigl_rule(weight, gradient, mask, fraction, 0, **options)
        assert torch.equal(moved, _srigl_in_loops(weight, gradient, mask, fraction, **options))
        before, after = (t.flatten(1).any(dim=1) for t in (mask, moved))
        dense, rest = moved.flatten(1).all(dim=1), moved.sum() > fan_in * rows
        facts = (before & ~after, ~before & after, mask & (weight == 0), dense, rest)
        seen += torch.tensor([fact.sum() for fact in facts])
    num_ablated, num_revived, *others = seen.tolist()
    assert (num_ablated > 0) == (gamma_sal > 0)
    assert (num_revived > 0) == (ablated == "revive")
    assert min(others) > 0


def test_a_budget_gives_out_after_an_ablation_what_no_row_could_take() -> None:
    weight = torch.tensor([[0.9, 0.8, 0, 0, 0], [0.7, 0.6, 0, 0, 0], [0.1, 0.2, 0, 0, 0]])
    gradient = torch.tensor([[0.0, 0, 0.4, 0.3, 0], [0, 0, 0.1, 0.3, 0], [0, 0, 0, 0, 0]])
    moved = partial(rules.srigl_rule, weight, gradient, weight != 0, 0.34, 0, gamma_sal=0.9)
    assert moved().int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0] * 5]
    # from 10 on two rows of 5 leave no room: the third stays
    expected = {3: [1, 1, 0], 7: [3, 3, 0], 8: [4, 4, 0], 10: [3, 3, 3], 15: [5, 5, 5]}
    for budget, per_row in expected.items():
        assert moved(budget=budget).sum(dim=1).tolist() == per_row
    cut = rules.srigl_rule(weight + 0.01, gradient, weight < 9, 0.2, 0, gamma_sal=0, budget=6)
    assert cut.sum(dim=1).tolist() == [2, 2, 2]


def test_a_row_is_given_no_more_than_it_has() -> None:
    weight = torch.tensor([[0.9, 0.8, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    moved = partial(rules.srigl_rule, weight, torch.ones(3, 3), weight != 0, 0.5, 0, budget=8)
    assert moved(ablated="permanent").int().tolist() == [[1, 1, 1], [0] * 3, [0] * 3]
    assert moved().int().tolist() == [[1, 1, 0]] * 3


def test_the_budget_survives_any_number_of_ablations_and_revivals() -> None:
    generator = torch.Generator().manual_seed(1)
    _, _, mask = _layer(generator, (40, 90), fan_in=7)
    seen = set()
    for step in range(40):
        weight, gradient, _ = _layer(generator, (40, 90), fan_in=7)
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
    weight, gradient, mask = _layer(generator, shape, fan_in=4, num_empty=num_empty)
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
    weight, gradient, mask = _layer(generator, (20, 50), fan_in=9)
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
    weight, gradient, mask = _layer(generator, (20, 50), fan_in=9)
    first = rules.set_rule(weight, gradient, mask, 0.5, 1)
    torch.manual_seed(99)
    assert torch.equal(first, rules.set_rule(weight, -gradient, mask, 0.5, 1))
    assert not torch.equal(first, rules.set_rule(weight, gradient, mask, 0.5, 2))


@pytest.mark.parametrize("rule", RULES)
def test_memory_layout_and_low_precision_change_nothing(rule) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient, mask = _layer(generator, (8, 6, 3, 3), fan_in=9)
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
        (lambda *a: rules.srigl_rule(*a, 0.3, 0, budget=1), r"budget .* \[2, 6\], .* got 1"),
        (lambda *a: rules.srigl_rule(*a, 0.3, 0, budget=7), r"budget .* \[2, 6\], .* got 7"),
        (lambda *a: rules.srigl_rule(*a, 0.3, 0, ablated="no"), "'no' is not one of 'revive'"),
    ],
)
def test_mistakes_are_named(call, message) -> None:
    mask = torch.tensor([[True, False, False], [True, True, False]])
    if "1, 2" not in message:
        mask = mask & torch.tensor([True, False, False])
    with pytest.raises(ValueError, match=message):
        call(mask.float(), mask.float(), mask)
