"""A network that learns from another: what is compared, what it costs, and that nothing leaks."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from sparsekit.configuration.config import ConfigError
from sparsekit.core.distillation import Distillation
from sparsekit.data.batches import call
from sparsekit.report.compare import differences
from sparsekit.runs.planning import plan_run
from sparsekit.runs.runner import PreparedRun, rehearse_all
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.tasks.classification import classification
from sparsekit.tasks.next_token import next_token
from sparsekit.training.teacher import Teacher, layers_of
from tests.system.processes import ended
from tests.training.lives import DONE, KILLED, STOPPED, life, saved_steps, watched

Tiny = Callable[..., PreparedRun]
RunTiny = Callable[..., tuple[Store, list[str]]]
LOGITS = ("method=one_shot", "+distillation=logits")
FEATURES = ("method=one_shot", "+distillation=features")
X, LABELS = torch.linspace(-1, 1, 12).reshape(4, 3), torch.tensor([0, 1, 0, 1])
T = 3.0


class Net(nn.Module):
    """Two linear layers around an activation in place; the second may be called twice."""

    def __init__(self, seed: int = 0, *, width: int = 5, dropout: float = 0.0, calls: int = 1):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(3, width)
        self.act = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.again = nn.Linear(width, width)
        self.last = nn.Linear(width, 2)
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.act(self.first(x)))
        for _ in range(self.calls):
            x = self.again(x)
        return self.last(x)


def taught(distillation: Distillation, layers: tuple[str, ...] = (), seed: int = 1) -> Teacher:
    return Teacher(Net(seed).eval(), distillation, classification(), layers, flops=10.0)


def loss_of(teacher: Teacher, student: nn.Module) -> Tensor:
    return teacher.loss(student, partial(call, student), X, LABELS)


def test_the_loss_of_logits_is_hintons() -> None:
    asked = Distillation(logits_weight=0.7, temperature=T)
    student, teacher = Net(0), taught(asked)
    soft, known = log_softmax(student(X) / T, 1), log_softmax(teacher.model(X) / T, 1)
    expected = 0.3 * cross_entropy(student(X), LABELS) + 0.7 * T**2 * kl_div(
        soft, known, reduction="batchmean", log_target=True
    )
    assert loss_of(teacher, student).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_of_features_is_of_what_layers_return_not_of_what_becomes_of_it() -> None:
    asked = Distillation(features_weight=2.0, eps=0.5)
    student, teacher = Net(0), taught(asked, ("first",))
    ours, theirs = student.first(X), teacher.model.first(X)
    assert (ours < 0).any(), "the activation in place would change it"
    error = (ours - theirs).square().mean() / (theirs.square().mean() + 0.5)
    expected = cross_entropy(student(X), LABELS) + 2 * error
    assert loss_of(teacher, student).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_reach_the_student_alone_and_hooks_are_gone() -> None:
    asked = Distillation(features_weight=1.0, logits_weight=0.5, temperature=T)
    student, teacher = Net(0), taught(asked, ("first", "last"))
    loss_of(teacher, student).backward()
    assert all(p.grad is not None for n, p in student.named_parameters())
    assert all(p.grad is None for p in teacher.model.parameters())
    assert not any(m._forward_hooks for m in (*student.modules(), *teacher.model.modules()))


def test_the_student_draws_what_it_would_draw_alone() -> None:
    student = Net(0, dropout=0.5).train()
    teacher = taught(Distillation(logits_weight=0.5, temperature=T, task_weight=1.0))
    torch.manual_seed(7)
    alone = student(X)
    torch.manual_seed(7)
    seen = []
    student.register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss_of(teacher, student)
    assert torch.equal(alone, seen[0])


def test_positions_without_a_target_teach_nothing() -> None:
    """As the loss does not count them; without `counted` they would."""
    logits = torch.zeros(1, 2, 2)
    known = torch.tensor([[[1.0, 0.0], [9.0, 0.0]]])
    asked = Distillation(logits_weight=1.0, temperature=1.0)

    def loss(targets: list[int]) -> float:
        teacher = Teacher(Says(known), asked, next_token(), (), flops=0.0)
        student = Says(logits)
        return teacher.loss(student, student, X, torch.tensor([targets])).item()

    assert loss([0, -100]) == pytest.approx(
        kl_div(log_softmax(logits[0, :1], 1), known[0, :1].softmax(1), reduction="sum").item()
    )
    assert loss([0, 1]) > loss([0, -100])


class Says(nn.Module):
    def __init__(self, outputs: Tensor):
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs


def test_layers_are_linear_and_convolution_layers_unless_named() -> None:
    assert layers_of(Net(), Net(1), X[:1], patterns=()) == ("first", "again", "last")
    assert layers_of(Net(), Net(1), X[:1], patterns=("a*",)) == ("act", "again")
    assert layers_of(Net(calls=2), Net(1), X[:1], patterns=()) == ("first", "last")


def test_layers_that_cannot_be_compared_are_named() -> None:
    with pytest.raises(ValueError, match=re.escape("first ([1, 5] and [1, 7]), again")):
        layers_of(Net(), Net(width=7), X[:1], patterns=())
    assert layers_of(Net(), Net(width=7), X[:1], patterns=("last",)) == ("last",)
    with pytest.raises(ValueError, match=r"'body\.\*' matches none of .*: first, act, dropout"):
        layers_of(Net(), Net(), X[:1], patterns=("first", "body.*"))
    with pytest.raises(ValueError, match="no linear or convolution layer of the same name"):
        layers_of(Net(), nn.Sequential(nn.Linear(3, 2)), X[:1], patterns=())


def test_a_layer_that_training_calls_twice_is_refused() -> None:
    teacher = taught(Distillation(features_weight=1.0), ("again",))
    with pytest.raises(RuntimeError, match="again ran 2 times"):
        loss_of(teacher, Net(calls=2))


@pytest.mark.parametrize("asked", [LOGITS, FEATURES], ids=["logits", "features"])
def test_a_run_learns_from_its_dense_ticket(
    asked: tuple[str, ...], run_tiny: RunTiny, tiny: Tiny
) -> None:
    store, (dense, ticket) = run_tiny(*asked)
    _, (same_dense, plain) = run_tiny("method=one_shot")
    assert same_dense == dense, "the dense network does not learn from itself"
    (fit,) = store.description(ticket)["inputs"]
    assert store.description(fit)["inputs"][1:] == [dense]
    assert [stage.key for stage in plan_run(tiny(*asked))][-2:] == [fit, ticket]
    state, masks = load_network(store, ticket)
    other, other_masks = load_network(store, plain)
    assert list(state) == list(other)
    assert any(not torch.equal(state[name], other[name]) for name in state)
    assert all(torch.equal(masks[name], other_masks[name]) for name in masks)
    flops = store.read(dense, "metrics.json")["flops"]
    cost = store.read(fit, "cost.json")
    assert cost["teacher_forward_passes"] == 10  # of half an epoch
    assert cost["teacher_examples"] == 10 * 64
    assert cost["teacher_flops"] == 10 * 64 * flops
    (plain_fit,) = store.description(plain)["inputs"]
    assert "teacher_examples" not in store.read(plain_fit, "cost.json")


def test_a_stored_network_teaches_every_fit(run_tiny: RunTiny, tiny: Tiny) -> None:
    store, (dense,) = run_tiny("method=dense")
    by_key = ("+distillation=logits", f"method.distillation.teacher={dense}")
    for method in ("method=dense", "method=random"):
        _, (ticket,) = run_tiny(method, *by_key)
        (fit,) = store.description(ticket)["inputs"]
        assert store.description(fit)["inputs"][1:] == [dense]
    _, tickets = run_tiny("method=imp", "method.cycles=1", "method.rewind_step=2", *by_key)
    fits = [key for key in store.ancestors(*tickets) if key.startswith("fit-")]
    taught_fits = [key for key in fits if dense in store.description(key)["inputs"]]
    plain = store.description(dense)["inputs"]
    assert set(fits) - set(taught_fits) == set(plain)
    assert len(taught_fits) == 3  # to step 2, on to the end, and pruned


def test_masks_that_are_held_fixed_again_are_taught_again(tiny: Tiny) -> None:
    job = tiny("method=gmp", "+control=shuffle_layers", "+distillation=features",
               "method.distillation.teacher=ticket-0123456789abcdef0123")  # fmt: skip
    cycles = list(job.method.plan())
    assert len(cycles) == 2
    assert [cycle.distillation for cycle in cycles] == [job.method.distillation] * 2


@pytest.mark.parametrize("asked", [LOGITS, FEATURES], ids=["logits", "features"])
def test_killed_and_stopped_within_a_fit_same_bits(
    asked: tuple[str, ...], tiny: Tiny, run_tiny: RunTiny, tmp_path: Path
) -> None:
    longer = (*asked, "train.epochs=1.5", "train.clip_norm=1")
    expected, (dense, _) = run_tiny(*longer, store="undisturbed")
    job = tiny(*longer, "runtime.checkpoint_seconds=0", store="stopped")
    run_tiny("method=dense", *longer[2:], store="stopped")
    assert list(job.store.keys("ticket")) == [dense]
    assert ended(life(watched(job, tmp_path, at=7, number=signal.SIGKILL))) == KILLED
    assert ended(life(watched(job, tmp_path, at=23, number=signal.SIGTERM))) == STOPPED
    assert saved_steps(job) == [23]
    assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []
    (fit,) = expected.description(list(expected.keys("ticket"))[-1])["inputs"]
    costs = [store.read(fit, "cost.json") for store in (expected, job.store)]
    assert costs[0].get("teacher_examples") == costs[1].get("teacher_examples")


@pytest.mark.usefixtures("warm_spawn")
def test_two_devices_have_a_teacher_each(run_tiny: RunTiny) -> None:
    store, (_, ticket) = run_tiny(*FEATURES, "runtime.devices=2")
    (fit,) = store.description(ticket)["inputs"]
    cost = store.read(fit, "cost.json")
    assert (cost["teacher_forward_passes"], cost["teacher_examples"]) == (20, 640)
    state, _ = load_network(store, ticket)
    assert list(state) == list(load_network(store, store.description(fit)["inputs"][1])[0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("method=random", "+distillation=logits"), "trains no dense network"),
        (("method=dense", "+distillation=logits"), "cannot learn from itself"),
        ((*LOGITS, "method.distillation.teacher=best"), "'best' is neither 'dense' nor the key"),
        ((*LOGITS, "method.retrain_epochs=0"), "nothing is trained"),
        ((*FEATURES, "+transform=remove_channels"), "name those that keep it"),
        ((*LOGITS, "method.distillation.teacher=ticket-0123456789abcdef0123"), "not in the store"),
        ((*LOGITS, "data=diabetes"), "outputs that are logits"),
        ((*FEATURES, "method.distillation.layers=[head]"), "'head' matches none"),
        ((*FEATURES, "runtime.compile=true"), "hides the layers"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_training(
    overrides: tuple[str, ...], message: str, tiny: Tiny
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        rehearse_all([tiny(*overrides)])


def test_layers_are_compared_as_a_transform_leaves_them(tiny: Tiny) -> None:
    """Without some of its channels the first layer is narrower than the teacher's; the last is
    not. The least sparse of several cycles removes none."""
    removing = (*FEATURES, "+transform=remove_channels", "method.cycles=2", "sparsity=0.99")
    rehearse_all([tiny(*removing, "method.distillation.layers=['5']")])
    with pytest.raises(ConfigError, match="outputs of different shapes in 1"):
        rehearse_all([tiny(*removing, "method.distillation.layers=['1']")])


def test_a_teacher_of_another_problem_is_refused(run_tiny: RunTiny, tiny: Tiny) -> None:
    _, (pairs,) = run_tiny("method=dense", "data=digit_pairs")
    _, (diabetes,) = run_tiny("method=dense", "data=diabetes", "train=diabetes", "train.epochs=1")
    for other in (pairs, diabetes):
        with pytest.raises(ConfigError, match="the network that is trained"):
            rehearse_all([tiny(*LOGITS, f"method.distillation.teacher={other}")])


def test_a_regression_learns_features(run_tiny: RunTiny) -> None:
    asked = ("data=diabetes", "train=diabetes", "train.epochs=2", "method=one_shot")
    store, (_, plain) = run_tiny(*asked)
    _, (_, ticket) = run_tiny(*asked, "+distillation=features")
    states = [load_network(store, key)[0] for key in (plain, ticket)]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
