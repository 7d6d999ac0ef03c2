"""Learning rates: closed forms against tables, torch's schedulers and recorded sequences."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from sparsekit.core import learning_rates as rates
from sparsekit.core.learning_rates import Cut, DenseSchedule

CUT = Cut(norm_drop=0.3, fraction=0.36)
RESTARTS = [rates.scaled, rates.cyclic, rates.linear_restart, rates.adaptive_linear]
RETRAINING = [rates.fine_tune, rates.rewound, *RESTARTS]


def sequence(rate, steps: int, *args, **options) -> list[float]:
    return [rate(step, steps, *args, **options) for step in range(steps)]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (partial(rates.constant, warmup=0.5), [0.5, 1.0, 1.0, 1.0]),
        (partial(rates.linear, warmup=0.0), [1.0, 0.75, 0.5, 0.25]),
        (partial(rates.linear, warmup=0.5), [0.5, 1.0, 1.0, 0.5]),
        (partial(rates.cosine, floor=0.5, warmup=0.5), [0.5, 1.0, 1.0, 0.75]),
        (partial(rates.multistep, milestones=[0.5, 0.75]), [1.0, 1.0, 0.1, 0.01]),
        (partial(rates.multistep, milestones=[0.25], gamma=0.5, warmup=0.5), [0.5, 0.5, 0.5, 0.5]),
        (partial(rates.constant, warmup=1.0), [0.25, 0.5, 0.75, 1.0]),
        # both fractions are of all four updates: one of warmup, two that fall, one held
        (partial(rates.held, hold=0.2, start=0.75, warmup=0.25), [1.0, 1.0, 0.6, 0.2]),
    ],
)
def test_four_updates(rate, expected) -> None:
    assert sequence(rate, 4, peak=1.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            partial(rates.multistep, milestones=[1 / 3, 2 / 3], gamma=0.2),
            partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[30, 60], gamma=0.2),
        ),
        (
            partial(rates.cosine, floor=0.01),
            partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=90, eta_min=0.01),
        ),
        (
            rates.linear,
            partial(
                torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=90
            ),
        ),
    ],
)
def test_closed_forms_equal_the_chained_schedulers_of_torch(ours, theirs) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler, chained = theirs(optimizer), []
    for _ in range(90):
        chained.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert sequence(ours, 90, peak=0.4) == pytest.approx(chained, abs=1e-12)


def test_warmup_climbs_from_a_positive_rate_to_the_peak() -> None:
    for rate in (rates.constant, rates.linear, rates.cosine):
        values = sequence(rate, 100, peak=0.2, warmup=0.1)
        assert values[:10] == pytest.approx([0.02 * k for k in range(1, 11)])
        assert values[10] == pytest.approx(0.2)


def test_a_fall_that_ends_before_the_warmup_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start=0\.25 is before the end .* warmup=0\.5"):
        rates.held(0, 4, peak=1.0, hold=0.5, start=0.25, warmup=0.5)


@pytest.mark.parametrize("step", [-1, 4])
def test_steps_outside_the_training_are_refused(step: int) -> None:
    for rate in (rates.constant, rates.linear, rates.cosine):
        with pytest.raises(ValueError, match=rf"\[0, 4\), got {step}"):
            rate(step, 4, peak=1.0)
    for rate in RETRAINING:
        with pytest.raises(ValueError, match=rf"\[0, 4\), got {step}"):
            rate(step, 4, DenseSchedule((0.1,) * 8, 0), CUT)


def test_retraining_equals_the_recorded_sequences(vectors) -> None:
    data = vectors("retrain")
    dense = DenseSchedule(tuple(data["trunk"]), data["num_warmup"])
    names = {"FT": rates.fine_tune, "LRW": rates.rewound, "LLR": rates.linear_restart}
    assert set(names) == set(data["rates"])
    for name, rate in names.items():
        expected = data["rates"][name]
        assert sequence(rate, len(expected), dense, CUT) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rate", RESTARTS)
def test_restarts_climb_half_a_cosine_and_use_the_peak_twice(rate) -> None:
    dense = DenseSchedule(tuple(0.1 * (1 - k / 200) for k in range(200)), 0)
    values = sequence(rate, 40, dense, Cut(0.6, 0.36))
    climb = [0.05 * (1 - math.cos(math.pi * k / 4)) for k in range(5)]
    assert values[:6] == pytest.approx([*climb, 0.1], abs=1e-12)
    assert max(values) <= 0.1
    assert all(before >= after for before, after in pairwise(values[5:]))


@pytest.mark.parametrize("rate", RESTARTS)
def test_restarts_too_short_for_a_warmup_begin_at_the_peak(rate) -> None:
    assert rate(0, 9, DenseSchedule((0.2, 0.1), 0), Cut(1.0, 1.0)) == 0.2
    assert rate(0, 40, DenseSchedule((0.2, 0.1), 0), Cut(1.0, 1.0), warmup=0.0) == 0.2


def test_fine_tuning_ignores_the_warmup_of_the_trunk() -> None:
    assert sequence(rates.fine_tune, 3, DenseSchedule((0.0, 0.1, 0.3, 0.2), 1), CUT) == [0.1] * 3


def test_rewinding_repeats_the_end_or_the_whole() -> None:
    dense = DenseSchedule((0.0, 0.3, 0.2, 0.1), 1)
    assert sequence(rates.rewound, 2, dense, CUT) == [0.2, 0.1]
    assert sequence(rates.rewound, 4, dense, CUT) == [0.0, 0.3, 0.2, 0.1]
    with pytest.raises(ValueError, match="cannot rewind 5 updates; the dense schedule has 4"):
        rates.rewound(0, 5, dense, CUT)


def test_scaled_compresses_and_stretches_without_the_old_warmup() -> None:
    dense = DenseSchedule((0.0, 0.4, 0.3, 0.2), 1)
    assert sequence(rates.scaled, 2, dense, CUT) == [0.4, 0.3]
    assert sequence(rates.scaled, 8, dense, CUT) == [0.4, 0.4, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2]
    # with warmup: peak twice, then every (200 / 36)-th rate of the dense schedule
    long = DenseSchedule(tuple(1 - k / 200 for k in range(200)), 0)
    after = sequence(rates.scaled, 40, long, CUT)[5:]
    assert after == [long.rates[int(j * 200 / 36)] for j in range(35)]


def test_cyclic_falls_to_the_lowest_rate_of_the_trunk() -> None:
    dense = DenseSchedule((0.0, 0.5, 0.1), 1)
    values = sequence(rates.cyclic, 4, dense, CUT)
    half = 0.5**0.5
    assert values == pytest.approx([0.5, 0.3 + 0.2 * half, 0.3, 0.3 - 0.2 * half], abs=1e-12)


@pytest.mark.parametrize(
    ("drop", "fraction", "peak"),
    [
        (0.3, 0.36, 0.5),  # 0.3 / 0.6
        (0.6, 0.36, 1.0),
        (0.9, 0.36, 1.0),  # never above the dense schedule
        (0.01, 0.36, 0.25),  # never below 8 of 32 steps
        (0.0, 0.0, 0.25),  # nothing was cut
    ],
)
def test_the_adaptive_peak_grows_with_the_damage(drop, fraction, peak) -> None:
    value = rates.adaptive_linear(0, 8, DenseSchedule((2.0,) * 32, 0), Cut(drop, fraction))
    assert value == pytest.approx(2.0 * peak, abs=1e-12)


def test_norm_drop_counts_all_parameters_but_cuts_the_masked() -> None:
    parameters = {"a": torch.tensor([3.0, -4.0]), "bias": torch.tensor([12.0])}
    masks = {"a": torch.tensor([True, False])}
    assert rates.norm_drop(parameters, masks) == pytest.approx(4 / 13, abs=1e-12)
    assert rates.norm_drop({"a": torch.zeros(2)}, masks) == 0.0


@pytest.mark.parametrize(("values", "num_warmup"), [((), 0), ((0.1,), 1), ((0.1,), -1)])
def test_a_trunk_of_nothing_but_warmup_is_refused(values, num_warmup) -> None:
    with pytest.raises(ValueError, match=f"num_warmup={num_warmup} of {len(values)} updates"):
        DenseSchedule(values, num_warmup)


@pytest.mark.parametrize("cut", [(1.1, 0.5), (0.5, -0.1), (math.nan, 0.5)])
def test_a_cut_of_more_than_everything_is_refused(cut) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        Cut(*cut)
