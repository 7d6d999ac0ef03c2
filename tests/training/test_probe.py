"""The probe: autograd by hand, states left as they are, and the scores recorded from references."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from sparsekit.core import allocate, patterns, schedules, scores
from sparsekit.core.prune import iterated, num_kept, prune
from sparsekit.core.ratios import redrawn, with_ratios_of
from sparsekit.core.types import Masks, Sample, Scores, Weights
from sparsekit.data.memory import InMemory, Split
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.store.tensors import save_network
from sparsekit.tasks.classification import classification
from sparsekit.training.probe import GradientProbe, draw

TASK = classification()
CPU = torch.device("cpu")
VECTORS = Path(__file__).parents[1] / "core" / "vectors" / "pruning_at_init.json"
SAMPLE = Sample(seed=0, images_per_class=4, num_batches=1, train_mode=False)
IN_TRAINING = Sample(seed=0, images_per_class=4, num_batches=1, train_mode=True)


def three_classes(*, num_train: int = 60) -> InMemory:
    images = torch.randint(
        256, (num_train, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    split = Split(images, torch.arange(num_train) % 3)
    return InMemory("three", 3, split, split, split, mean=(0.5,), std=(0.3,))


def small_net(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.BatchNorm2d(2),
            nn.Tanh(),
            *layers,
            nn.Flatten(),
            nn.Linear(32, 3),
        )


def weights_of(model: nn.Module, *names: str) -> Weights:
    state = model.state_dict()
    return {name: state[name] for name in names or ("0.weight", "4.weight")}


def probe_of(model: nn.Module, data: InMemory | None = None) -> GradientProbe:
    return GradientProbe(lambda: model, data or three_classes(), TASK, CPU)


def by_hand(model: nn.Module, images: Tensor, labels: Tensor, temperature: float) -> list[Tensor]:
    loss = cross_entropy(model(images) / temperature, labels)
    parameters = dict(model.named_parameters())
    wanted = [parameters["0.weight"], parameters["4.weight"]]
    return list(torch.autograd.grad(loss, wanted, create_graph=True))


@pytest.mark.parametrize("train_mode", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_gradients_equal_autograd_by_hand(train_mode: bool, temperature: float) -> None:
    sample = Sample(seed=3, images_per_class=4, num_batches=1, train_mode=train_mode)
    [(images, labels)] = draw(three_classes(), TASK, sample, device=CPU)
    model = small_net()
    found = probe_of(model).gradients(weights_of(model), sample, temperature=temperature)
    expected = by_hand(small_net().train(train_mode), images, labels, temperature)
    for gradient, hand in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, hand)
        assert not gradient.requires_grad


@pytest.mark.parametrize("train_mode", [False, True])
def test_hessian_product_equals_the_hessian_by_hand(train_mode: bool) -> None:
    sample = Sample(seed=3, images_per_class=4, num_batches=1, train_mode=train_mode)
    [(images, labels)] = draw(three_classes(), TASK, sample, device=CPU)
    model, reference = small_net(), small_net().train(train_mode)
    weights = weights_of(model)
    direction = {name: torch.randn_like(weight) for name, weight in weights.items()}
    slopes = torch.cat([g.flatten() for g in by_hand(reference, images, labels, 2.0)])
    parameters = dict(reference.named_parameters())
    wanted = [parameters[name] for name in weights]
    rows = [torch.autograd.grad(slope, wanted, retain_graph=True) for slope in slopes]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    expected = hessian @ torch.cat([part.flatten() for part in direction.values()])
    found = probe_of(model).hessian_product(weights, direction, sample, temperature=2.0)
    flat = torch.cat([product.flatten() for product in found.values()])
    torch.testing.assert_close(flat, expected, rtol=1e-4, atol=1e-6)


def test_without_a_sample_the_first_evaluation_batch_is_used() -> None:
    model, data = small_net(), three_classes()
    images, labels = next(data.eval_batches("train", batch_size=1000, device=CPU))
    found = probe_of(model, data).gradients(weights_of(model))
    expected = by_hand(small_net().eval(), images, labels, 1.0)
    for gradient, hand in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, hand)


def test_the_weights_asked_about_are_those_given() -> None:
    model = small_net()
    weights = weights_of(model)
    pruned = {name: weight * (weight > 0) for name, weight in weights.items()}
    probe = probe_of(model)
    dense, sparse = probe.gradients(weights, SAMPLE), probe.gradients(pruned, SAMPLE)
    assert not torch.equal(dense["0.weight"], sparse["0.weight"])
    other = small_net()
    other.load_state_dict({**other.state_dict(), **pruned})
    again = probe_of(other).gradients(pruned, SAMPLE)
    assert torch.equal(again["0.weight"], sparse["0.weight"])


def test_nothing_changes_model_weights_running_statistics_or_generator() -> None:
    model = small_net()
    model[1].running_mean.fill_(-0.3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights, generator = weights_of(model), torch.get_rng_state()
    probe = probe_of(model)
    for sample in (SAMPLE, IN_TRAINING):
        gradients = probe.gradients(weights, sample)
        probe.hessian_product(weights, gradients, sample)
    probe.flow(weights)
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(generator, torch.get_rng_state())


def test_training_mode_uses_the_statistics_of_the_batch_but_no_dropout() -> None:
    model = small_net()
    weights = weights_of(model)
    evaluated = probe_of(model).gradients(weights, SAMPLE)
    trained = probe_of(model).gradients(weights, IN_TRAINING)
    assert not torch.allclose(evaluated["0.weight"], trained["0.weight"])
    back = probe_of(model).gradients(weights, SAMPLE)
    assert torch.equal(back["0.weight"], evaluated["0.weight"])
    dropping = small_net(nn.Dropout(0.5))
    named = {"0.weight": "0.weight", "4.weight": "5.weight"}
    same = {other: weights[name] for name, other in named.items()}
    dropping.load_state_dict(
        {key.replace("4.", "5."): value for key, value in model.state_dict().items()}
    )
    found = probe_of(dropping).gradients(same, IN_TRAINING)
    assert torch.equal(found["0.weight"], trained["0.weight"])


def test_the_order_of_the_weights_does_not_matter() -> None:
    model = small_net()
    weights = weights_of(model)
    turned = dict(reversed(weights.items()))
    probe = probe_of(model)
    direction = probe.gradients(weights, SAMPLE)
    found = [probe.hessian_product(given, direction, SAMPLE) for given in (weights, turned)]
    assert list(found[1]) == list(turned)
    assert all(torch.equal(found[0][name], found[1][name]) for name in weights)


def test_several_batches_give_the_mean_over_all_images() -> None:
    model = small_net()
    weights = weights_of(model)
    halves = Sample(seed=0, images_per_class=4, num_batches=2, train_mode=False)
    once, twice = (probe_of(model).gradients(weights, s) for s in (SAMPLE, halves))
    for name in weights:
        torch.testing.assert_close(once[name], twice[name])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(16, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.inner(images)
        return self.head(scaled_dot_product_attention(tokens, tokens, tokens).flatten(1))


def test_attention_has_a_second_derivative_and_unused_layers_score_zero() -> None:
    model = Attention()
    weights = weights_of(model, "inner.weight", "head.weight", "unused.weight")
    result = scores.grasp(weights, {}, probe_of(model), seed=0, images_per_class=4)
    assert all(bool(score.isfinite().all()) for score in result.values())
    assert bool((result["inner.weight"] != 0).any())
    assert result["unused.weight"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_sample_is_balanced_and_drawn_by_its_seed() -> None:
    data = three_classes()
    sample = Sample(seed=1, images_per_class=6, num_batches=3, train_mode=False)
    batches = draw(data, TASK, sample, device=CPU)
    assert [labels.tolist() for _, labels in batches] == [[0, 0, 1, 1, 2, 2]] * 3
    train = next(data.eval_batches("train", batch_size=60, device=CPU))
    positions = []
    for images, labels in batches:
        for image, label in zip(images, labels, strict=True):
            found = [i for i in range(60) if torch.equal(train[0][i], image)]
            assert train[1][found[0]] == label
            positions.append(found[0])
    assert len(set(positions)) == 18
    again = draw(data, TASK, sample, device=CPU)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(batches, again, strict=True))
    other = draw(data, TASK, Sample(2, 6, 3, False), device=CPU)
    assert not torch.equal(other[0][0], batches[0][0])


def test_a_class_with_too_few_images_is_named() -> None:
    data = three_classes(num_train=29)  # classes of 10, 10 and 9
    with pytest.raises(ValueError, match=r"images_per_class=10, .* holds 9 examples of class 2"):
        draw(data, TASK, Sample(0, 10, 1, False), device=CPU)


def test_what_answers_cost_is_noted_in_forward_passes_of_an_example() -> None:
    noted: list[float] = []
    model = small_net()
    probe = GradientProbe(lambda: model, three_classes(), TASK, CPU, note=noted.append)
    weights = {"0.weight": model.get_parameter("0.weight").detach()}
    sample = Sample(seed=0, images_per_class=4, num_batches=2, train_mode=False)
    probe.gradients(weights, sample)
    probe.hessian_product(weights, weights, sample)
    probe.flow(weights)
    probe.gradients(weights)
    assert noted == [18, 18, 54, 54, 3, 3 * 60]


def test_flow_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.ReLU(), nn.Linear(2, 3))
    flow = probe_of(model).flow(weights_of(model, "1.weight", "3.weight"))
    state = {name: tensor.double().abs() for name, tensor in model.state_dict().items()}
    hidden = state["1.weight"].sum(1) + state["1.bias"]
    torch.testing.assert_close(flow["3.weight"], hidden.expand(3, 2))
    torch.testing.assert_close(flow["1.weight"], state["3.weight"].sum(0)[:, None].expand(2, 16))
    assert flow["1.weight"].dtype == torch.float64


def test_flow_takes_the_size_of_everything_and_survives_what_overflows_float32() -> None:
    model = small_net()
    with torch.no_grad():
        model[1].running_mean.fill_(-1.0)
        model[1].weight.fill_(-2.0)
        model[0].bias.fill_(-100.0)
    assert bool((probe_of(model).flow(weights_of(model))["4.weight"] > 0).any())
    deep = nn.Sequential(nn.Flatten(), *(nn.Linear(16, 16) for _ in range(4)))
    names = [f"{i}.weight" for i in range(1, 5)]
    huge = {name: torch.full((16, 16), 1e15) for name in names}
    result = scores.synflow(huge, {}, probe_of(deep))
    assert all(bool(score.isfinite().all()) for score in result.values())
    assert float(result["1.weight"].max()) > torch.finfo(torch.float32).max
    astronomic = {name: torch.full((16, 16), 1e38) for name in names}
    more = nn.Sequential(deep, *(nn.Linear(16, 16) for _ in range(5)))
    named = {f"0.{name}": weight for name, weight in astronomic.items()}
    named |= {f"{i}.weight": torch.full((16, 16), 1e38) for i in range(1, 6)}
    with pytest.raises(ValueError, match="SynFlow's output is inf, not finite"):
        probe_of(more).flow(named)


def test_stored_masks_are_those_of_the_ticket(tmp_path: Path) -> None:
    store, masks = Store(tmp_path), {"b": torch.tensor([[True, False]]), "a": torch.ones(2).bool()}
    first, ticket = Stage("fit", {"epochs": 1}), Stage("ticket", {"epochs": 1})
    state = {"a": torch.zeros(2), "b": torch.zeros(1, 2)}
    store.ensure(first, lambda folder: save_network(folder, state=state, masks=masks, network={}))
    store.ensure(
        ticket, lambda folder: save_network(folder, state=first.key, masks=first.key, network={})
    )
    probe = GradientProbe(small_net, three_classes(), TASK, CPU, store)
    for key in (first.key, ticket.key):
        found = probe.stored_masks(key)
        assert list(found) == ["b", "a"]
        assert all(torch.equal(found[name], mask) for name, mask in masks.items())


@pytest.mark.parametrize("key", ["ticket-0", "fit", "", "../fit", "ticket-"])
def test_a_ticket_that_is_not_in_the_store_is_refused_with_both_names(
    key: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    masks = {"a": torch.ones(2).bool()}
    for kind in ("fit", "ticket"):
        store.ensure(
            Stage(kind, {}),
            lambda folder: save_network(folder, state=masks, masks=masks, network={}),
        )
    probe = GradientProbe(small_net, three_classes(), TASK, CPU, store)
    with pytest.raises(ValueError, match=f"ticket='{key}' is not in the store {tmp_path}"):
        probe.stored_masks(key)


def test_a_probe_without_a_store_has_no_tickets() -> None:
    with pytest.raises(ValueError, match=r"ticket='ticket-0' .* no store"):
        probe_of(small_net()).stored_masks("ticket-0")


def test_ratios_of_a_stored_ticket_are_drawn_anew(tmp_path: Path) -> None:
    model, store = small_net(), Store(tmp_path)
    weights = weights_of(model)
    dense = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    probe = GradientProbe(lambda: model, three_classes(), TASK, CPU, store)
    snip = once(partial(scores.snip, seed=0, images_per_class=4))
    stored, stage = snip(weights, dense, probe, 40), Stage("ticket", {})
    store.ensure(
        stage, lambda folder: save_network(folder, state=weights, masks=stored, network={})
    )
    arguments: dict[str, Any] = {"seed": 0, "pattern": patterns.unstructured}
    kept = with_ratios_of(weights, dense, probe, 40, ticket=stage.key, **arguments)
    again = redrawn(weights, dense, probe, 40, prune=snip, **arguments)
    assert num_kept(kept) == num_kept(stored)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert not torch.equal(kept["4.weight"], stored["4.weight"])


class Recorded:
    """The 24 images of the recorded scores, as data."""

    name = "recorded"
    num_outputs = 3
    num_train = 24

    def __init__(self, images: list[Any], labels: list[int]) -> None:
        self.batch = torch.tensor(images).view(24, 6, 1, 1), torch.tensor(labels)

    def example(self) -> Tensor:
        return torch.zeros(1, 6, 1, 1)

    def train_batches(self, **_: Any) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.batch


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(VECTORS.read_text())


@pytest.fixture(scope="module")
def mlp(recorded: dict[str, Any]) -> tuple[Weights, Masks, GradientProbe]:
    model = nn.Sequential()
    model.append(nn.Flatten())
    for index, (inputs, outputs) in enumerate([(6, 5), (5, 4), (4, 3)], start=1):
        model.add_module(f"l{index}", nn.Linear(inputs, outputs))
        model.add_module(f"relu{index}", nn.ReLU() if index < 3 else nn.Identity())
    state = {name: torch.tensor(values) for name, values in recorded["weights"].items()}
    model.load_state_dict(state)
    weights = {name: tensor for name, tensor in state.items() if name.endswith("weight")}
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    data: Any = Recorded(recorded["images"], recorded["labels"])
    return weights, masks, GradientProbe(lambda: model, data, TASK, CPU)


SCORES: dict[str, Callable[..., Scores]] = {
    "snip": partial(scores.snip, seed=0, images_per_class=8),
    "grasp": partial(scores.grasp, seed=0, images_per_class=8),
    "synflow": scores.synflow,
    "snip_two_batches": partial(scores.snip, seed=0, images_per_class=8, num_batches=2),
    "grasp_two_batches": partial(scores.grasp, seed=0, images_per_class=8, num_batches=2),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_equal_the_recorded_ones(name: str, mlp: Any, recorded: Any) -> None:
    weights, masks, probe = mlp
    result = SCORES[name](weights, masks, probe)
    total = 1.0 if name == "synflow" else sum(float(s.sum()) for s in result.values())
    for layer, expected in recorded["scores"][name].items():
        scaled = result[layer].double() / abs(total)
        wanted = torch.tensor(expected, dtype=torch.float64)
        # the sums of GraSP nearly cancel and were taken in float32
        rtol = 5e-4 if name.startswith("grasp") else 1e-5
        torch.testing.assert_close(scaled, wanted, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("density", ["0.5", "0.2"])
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_one_shot_masks_equal_the_recorded_ones(
    name: str, density: str, mlp: Any, recorded: Any
) -> None:
    expected = recorded["one_shot"][f"{name} {density}"]
    found = once(SCORES[name])(*mlp, total(expected))
    assert {layer: mask.int().tolist() for layer, mask in found.items()} == expected


@pytest.mark.parametrize("density", ["0.5", "0.1"])
@pytest.mark.parametrize("fit_schedule", ["exponential", "linear"])
@pytest.mark.parametrize("iterations", [1, 10, 100])
def test_synflow_masks_equal_the_recorded_ones(
    iterations: int, fit_schedule: str, density: str, mlp: Any, recorded: Any
) -> None:
    expected = recorded["iterated"][f"{iterations} {fit_schedule} {density}"]
    shape = {"exponential": schedules.geometric, "linear": schedules.linear}[fit_schedule]
    ours = partial(iterated, *mlp, total(expected), prune=once(scores.synflow))
    theirs = partial(rounded_up, shape=shape, sparsity=1 - float(density))
    for schedule in (theirs, shape) if iterations != 10 else (theirs,):
        found = ours(iterations=iterations, schedule=schedule)
        assert {layer: mask.int().tolist() for layer, mask in found.items()} == expected


def test_iterations_avoid_the_collapse_of_one_shot_synflow(mlp: Any) -> None:
    weights, masks, probe = mlp
    one_shot = once(scores.synflow)(weights, masks, probe, 7)
    many = iterated(weights, masks, probe, 7, prune=once(scores.synflow))
    assert list(num_kept(one_shot).values()) == [0, 1, 6]
    assert list(num_kept(many).values()) == [2, 2, 3]


def test_synflow_stops_where_a_layer_must_be_empty() -> None:
    model = nn.Sequential(nn.Flatten(), *(nn.Linear(16, 16, bias=False) for _ in range(3)))
    weights = weights_of(model, "1.weight", "2.weight", "3.weight")
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    with pytest.raises(ValueError, match="synflow scores every weight 0"):
        iterated(weights, masks, probe_of(model), 1, prune=once(scores.synflow))
    kept = iterated(weights, masks, probe_of(model), 3, prune=once(scores.synflow))
    assert list(num_kept(kept).values()) == [1, 1, 1]


def once(score: Callable[..., Scores]) -> Callable[..., Masks]:
    return partial(prune, score=score, allocate=allocate.globally, pattern=patterns.unstructured)


def total(masks: dict[str, list[list[int]]]) -> int:
    return sum(sum(row) for mask in masks.values() for row in mask)


def rounded_up(
    step: int, *, start: float, stop: float, steps: int, shape: Any, sparsity: float
) -> float:
    """The reference's rungs: int((1 - density) N) of N = 62 weights go, so what stays rounds up."""
    return int(shape(step, start=0.0, stop=sparsity, steps=steps) * 62) / 62
