"""Distillation: what a network learns from a trained one, its teacher, beside its task.

Shapes: logits [..., C] with classes last; features as layers give them, [B, ...]. `counted`, bool
[B] or [B, T], says which positions the task's loss counts; None: all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

DENSE = "dense"


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Mix the task's loss with what a teacher says of the same inputs.

    loss = task_weight * task + logits_weight * soft_targets + features_weight * squarehead

    `teacher` is "dense", the ticket of cycle 0 of the same run, or the key of any stored network.
    `temperature` belongs to the logits, `layers` and `eps` to the features; `layers` are glob
    patterns on names of modules, () all linear and convolution layers that both networks have.
    `task_weight=None` is 1 - logits_weight, so that logits_weight is Hinton's alpha.

    ValueError for a weight that is negative or not a number, for weights that distil nothing, and
    for a setting that belongs to a weight of 0.

    >>> Distillation(temperature=4.0, logits_weight=0.75).weight_of_task
    0.25
    """

    teacher: str = DENSE
    temperature: float | None = None
    logits_weight: float = 0.0
    features_weight: float = 0.0
    task_weight: float | None = None
    layers: tuple[str, ...] = ()
    eps: float = 2**-7

    def __post_init__(self) -> None:
        for name in ("logits_weight", "features_weight", "weight_of_task"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                shown = "task_weight=1-logits_weight" if name == "weight_of_task" else name
                raise ValueError(f"distillation: {shown}={value} is not a finite number >= 0")
        if not (self.logits_weight or self.features_weight):
            raise ValueError(
                "distillation: logits_weight and features_weight are 0: nothing is distilled"
            )
        if (self.temperature is None) == (self.logits_weight > 0):
            raise ValueError(
                f"distillation: temperature={self.temperature} with "
                f"logits_weight={self.logits_weight}; logits need a temperature, and nothing else "
                "reads it"
            )
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"distillation: temperature={self.temperature} is not above 0")
        if self.layers and not self.features_weight:
            raise ValueError(f"distillation: layers={list(self.layers)} with features_weight=0")
        if not 0 <= self.eps < math.inf:
            raise ValueError(f"distillation: eps={self.eps} is not a finite number >= 0")

    @property
    def weight_of_task(self) -> float:
        return 1 - self.logits_weight if self.task_weight is None else self.task_weight

    def taught_by(self, dense: str | None) -> "Distillation":
        """Return it with the key of the teacher, which for "dense" is `dense`.

        ValueError where the run has no dense ticket.
        """
        if self.teacher != DENSE:
            return self
        if dense is None:
            raise ValueError("distillation: teacher='dense', but the run has no dense ticket yet")
        return replace(self, teacher=dense)


def soft_targets(
    student: Tensor, teacher: Tensor, *, temperature: float, counted: Tensor | None = None
) -> Tensor:
    """Return T^2 KL(softmax(teacher) || softmax(student)), a mean over positions.

    Both are logits [..., C] that have been divided by the temperature T already (`Task.soften`).
    T^2 makes up for the gradients, which shrink by as much, so that the weight of this term need
    not change with T (Hinton, Vinyals & Dean 2015, section 2.1). In float32 at least.

    ValueError for different shapes.

    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    >>> round(soft_targets(student, teacher, temperature=1.0).item(), 4)  # ln 2 - H(3/4, 1/4)
    0.1308
    """
    _check_shapes(student, teacher, "outputs")
    known, asked = _exact(teacher).log_softmax(-1), _exact(student).log_softmax(-1)
    # A class of probability 0 adds nothing, whatever the logarithm of it is.
    gaps = torch.where(known.isneginf(), 0.0, known.exp() * (known - asked))
    divergences = gaps.sum(-1)
    if counted is not None and divergences.shape[: counted.ndim] == counted.shape:
        divergences = divergences[counted]
    return temperature**2 * divergences.mean()


def squarehead(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    *,
    eps: float,
    counted: Tensor | None = None,
) -> Tensor:
    """Return the sum over layers of mean((s - t)^2) / (mean(t^2) + eps): SquareHead.

    Kurtic et al. 2023. The means are over all entries of the positions that count, those of layers
    whose outputs have other leading dimensions than `counted` over all entries. It is a sum, not a
    mean, over layers: more layers weigh more. The published eps is 2^-7, that of bfloat16. In
    float32 at least. ValueError for different shapes.

    >>> squarehead([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 1.0])], eps=0.0).item()
    0.5
    """
    terms = [
        _normalised_error(_where(counted, student), _where(counted, teacher), eps)
        for student, teacher in zip(students, teachers, strict=True)
    ]
    return torch.stack(terms).sum()


def _normalised_error(student: Tensor, teacher: Tensor, eps: float) -> Tensor:
    _check_shapes(student, teacher, "features")
    return (student - teacher).square().mean() / (teacher.square().mean() + eps)


def _where(counted: Tensor | None, features: Tensor) -> Tensor:
    """Return the entries of the positions that count."""
    if counted is not None and features.shape[: counted.ndim] == counted.shape:
        features = features[counted]
    return _exact(features)


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _check_shapes(student: Tensor, teacher: Tensor, what: str) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"{what} of student {list(student.shape)} and teacher {list(teacher.shape)} differ"
        )
