"""Distillation: literal tables, recorded numbers, and settings that are refused."""

import math

import pytest
import torch

from sparsekit.core.distillation import Distillation, soft_targets, squarehead


def test_soft_targets_of_two_classes_by_hand() -> None:
    """KL of (3/4, 1/4) from (1/2, 1/2) is 3/4 ln(3/2) + 1/4 ln(1/2); equal ones add nothing."""
    teacher = torch.tensor([[math.log(3.0), 0.0], [1.0, 1.0]])
    student = torch.zeros(2, 2)
    one = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = soft_targets(student, teacher, temperature=3.0)
    assert found.item() == pytest.approx(9 * one / 2, rel=1e-6)
    only = soft_targets(student, teacher, temperature=1.0, counted=torch.tensor([True, False]))
    assert only.item() == pytest.approx(one, rel=1e-6)


def test_the_gradient_is_the_difference_of_probabilities_times_the_temperature() -> None:
    """d/dz of T^2 KL(softmax(t/T) || softmax(z/T)) = T (softmax(z/T) - softmax(t/T)), by hand."""
    student = torch.tensor([[0.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[4.0 * math.log(3.0), 0.0]])
    soft_targets(student / 4, teacher / 4, temperature=4.0).backward()
    assert student.grad is not None
    assert student.grad.tolist() == [pytest.approx([-1.0, 1.0], rel=1e-6)]


def test_a_class_that_the_teacher_excludes_adds_nothing() -> None:
    student = torch.tensor([[0.0, 0.0, 5.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0, -math.inf]])
    found = soft_targets(student, teacher, temperature=1.0)
    found.backward()
    expected = math.log(2 + math.exp(5.0)) - math.log(2.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_recorded_numbers(vectors) -> None:
    recorded = vectors("distillation")
    teacher, student, counted = (
        torch.tensor(recorded[name]) for name in ("teacher", "student", "useful_token_mask")
    )
    layers = list(student), list(teacher)
    mask = counted.bool()
    pairs = zip(*layers, strict=True)
    each = [squarehead([s], [t], eps=recorded["eps"], counted=mask) for s, t in pairs]
    assert [one.item() for one in each] == pytest.approx(recorded["per_layer"], abs=1e-6)
    total = squarehead(*layers, eps=recorded["eps"], counted=mask).item()
    assert total == pytest.approx(recorded["sum"], abs=1e-6)
    assert squarehead(*layers, eps=recorded["eps"]).item() != pytest.approx(total, rel=1e-3)
    logits = recorded["kl_T2"]
    softened = [
        torch.tensor(logits[f"{name}_logits"]) / logits["temperature"]
        for name in ("student", "teacher")
    ]
    found = soft_targets(*softened, temperature=logits["temperature"]).item()
    assert found == pytest.approx(logits["value_T2_times_mean_over_tokens"], abs=1e-6)


def test_features_of_other_leading_dimensions_count_as_a_whole() -> None:
    counted = torch.tensor([[True, False]])
    pooled = squarehead(
        [torch.tensor([[3.0, 1.0, 1.0]])], [torch.ones(1, 3)], eps=0, counted=counted
    )
    assert pooled.item() == pytest.approx(4 / 3)
    tokens = torch.tensor([[[3.0], [9.0]]])
    assert squarehead([tokens], [torch.ones(1, 2, 1)], eps=1, counted=counted).item() == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_low_precision_is_computed_in_float32_and_high_precision_kept(dtype: torch.dtype) -> None:
    ones = torch.ones(2, 3, dtype=dtype)
    expected = torch.promote_types(dtype, torch.float32)
    assert squarehead([ones], [ones], eps=0.1).dtype == expected
    assert soft_targets(ones, ones, temperature=2.0).dtype == expected


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outputs of student \[2, 3\] and teacher \[1, 3\]"):
        soft_targets(torch.ones(2, 3), torch.ones(1, 3), temperature=1.0)
    with pytest.raises(ValueError, match=r"features of student \[2, 3\] and teacher \[3\]"):
        squarehead([torch.ones(2, 3)], [torch.ones(3)], eps=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing is distilled"),
        ({"logits_weight": 0.5}, "temperature=None with logits_weight=0.5"),
        ({"features_weight": 1.0, "temperature": 2.0}, "temperature=2.0 with logits_weight=0.0"),
        ({"logits_weight": 0.5, "temperature": 0.0}, "temperature=0.0 is not above 0"),
        ({"logits_weight": 1.5, "temperature": 2.0}, "task_weight=1-logits_weight=-0.5"),
        ({"features_weight": -1.0}, "features_weight=-1.0 is not a finite number"),
        ({"features_weight": math.inf}, "features_weight=inf is not a finite number"),
        ({"features_weight": 1.0, "eps": -0.1}, "eps=-0.1 is not a finite number"),
        ({"logits_weight": 0.5, "temperature": 2.0, "layers": ("a",)}, "with features_weight=0"),
    ],
)
def test_mistakes_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        Distillation(**settings)


def test_the_weight_of_the_task_is_what_is_left_unless_given() -> None:
    mixed = Distillation(logits_weight=0.9, temperature=4.0)
    assert mixed.weight_of_task == pytest.approx(0.1)
    assert Distillation(features_weight=2.0).weight_of_task == 1
    assert Distillation(logits_weight=3.0, temperature=4.0, task_weight=1.0).weight_of_task == 1


def test_the_dense_ticket_takes_the_place_of_its_word() -> None:
    asked = Distillation(features_weight=1.0)
    assert asked.taught_by("ticket-0").teacher == "ticket-0"
    named = Distillation(features_weight=1.0, teacher="fit-1")
    assert named.taught_by("ticket-0") == named == named.taught_by(None)
    with pytest.raises(ValueError, match="no dense ticket"):
        asked.taught_by(None)
