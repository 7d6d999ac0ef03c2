"""Particles, their masks, what is made of them, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sparsekit.core.prune import apply
from sparsekit.networks.network import stored_network
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.training.judge import NetworkJudge

Run = Callable[..., tuple[Store, list[str]]]
Masks = dict[str, torch.Tensor]
AVERAGE = ("method=imp_average", "method.cycles=2", "method.num_particles=2")


def masks_of(store: Store, key: str) -> Masks:
    return load_network(store, key)[1]


def weights_of(store: Store, key: str) -> dict[str, torch.Tensor]:
    return apply(*load_network(store, key))


def kept(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def start_of(store: Store, fit: str) -> str:
    return store.description(fit)["inputs"][0]


def is_within(inner: Masks, outer: Masks) -> bool:
    return all(bool((inner[name] <= outer[name]).all()) for name in inner)


def test_runs_kept_apart_have_masks_of_their_own_and_a_denser_average(run_tiny: Run) -> None:
    store, (_, first, second) = run_tiny(*AVERAGE)
    before, after = (store.description(key)["inputs"] for key in (first, second))
    one, other = (masks_of(store, key) for key in after)
    assert kept(one) == kept(other) < kept(masks_of(store, second)), "the union is denser"
    for fit, predecessor in zip(after, before, strict=True):
        start = start_of(store, fit)
        assert store.description(start)["inputs"] == [predecessor, predecessor]
        assert is_within(masks_of(store, fit), masks_of(store, predecessor))
    union = masks_of(store, second)
    assert all(torch.equal(union[n], one[n] | other[n]) for n in union)
    states = [weights_of(store, key) for key in after]
    for name, value in weights_of(store, second).items():
        mean = (states[0][name].double() + states[1][name].double()) / 2
        assert torch.equal(value, mean.to(value.dtype))
    metrics = store.read(second, "metrics.json")
    assert metrics["num_kept"] == kept(union)


def test_repruning_brings_the_average_back_to_the_sparsity(run_tiny: Run) -> None:
    store, average = run_tiny(*AVERAGE)
    _, repruned = run_tiny("method=imp_reprune", *AVERAGE[1:])
    assert repruned[:-1] == average, "everything but the last cut is shared"
    masks = masks_of(store, repruned[-1])
    total = sum(mask.numel() for mask in masks.values())
    assert kept(masks) == round(total * 0.2) < kept(masks_of(store, average[-1]))
    whole, cut = weights_of(store, average[-1]), weights_of(store, repruned[-1])
    smallest = min(float(cut[n][masks[n]].abs().min()) for n in masks)
    for name, mask in masks.items():
        assert torch.equal(cut[name], whole[name] * mask), "nothing was trained"
        assert float(whole[name][~mask].abs().max()) <= smallest


def test_a_shuffled_control_keeps_the_layers_and_nothing_else(run_tiny: Run) -> None:
    imp = ("method=imp", "method.cycles=2")
    store, plain = run_tiny(*imp)
    _, shuffled = run_tiny(*imp, "+control=shuffle_layers")
    assert shuffled[:-1] == plain[:-1]
    one, other = masks_of(store, plain[-1]), masks_of(store, shuffled[-1])
    assert [int(m.sum()) for m in one.values()] == [int(m.sum()) for m in other.values()]
    assert not any(torch.equal(one[name], other[name]) for name in one)
    starts = [
        start_of(store, store.description(key)["inputs"][0]) for key in (plain[-1], shuffled[-1])
    ]
    first, second = (load_network(store, key)[0] for key in starts)
    assert all(torch.equal(first[name], second[name]) for name in first), "the anchor's weights"


def test_a_control_across_layers_keeps_the_total(run_tiny: Run) -> None:
    store, shuffled = run_tiny("method=snip", "+control=shuffle_network")
    _, plain = run_tiny("method=snip")
    one, other = masks_of(store, plain[-1]), masks_of(store, shuffled[-1])
    assert kept(one) == kept(other)
    assert [int(m.sum()) for m in one.values()] != [int(m.sum()) for m in other.values()]


@pytest.mark.parametrize("method", ["imp", "rigl"])
def test_a_reinitialised_control_keeps_the_masks_and_draws_the_weights(
    run_tiny: Run, method: str
) -> None:
    asked = [
        f"method={method}",
        "method.mover.interval=2" if method == "rigl" else "method.cycles=1",
    ]
    store, plain = run_tiny(*asked)
    _, again = run_tiny(*asked, "+control=reinitialise")
    one, other = masks_of(store, plain[-1]), masks_of(store, again[-1])
    assert all(torch.equal(one[name], other[name]) for name in one)
    start = start_of(store, store.description(again[-1])["inputs"][0])
    drawn = store.description(start)["inputs"][0]
    assert drawn.startswith("init-")
    assert drawn not in store.ancestors(*plain)
    assert store.description(drawn)["config"]["seed"] != 0


def test_a_span_trains_once_through_the_schedule_in_parts(run_tiny: Run) -> None:
    store, tickets = run_tiny(
        "method=soup_gradual", "method.cycles=3", "method.span=[0.25,0.75]", "train.epochs=2"
    )
    fits = [store.description(key)["inputs"] for key in tickets]
    assert [len(particles) for particles in fits] == [1, 3, 3, 3]
    steps = [store.read(particles[0], "history.json")[-1]["step"] for particles in fits]
    total = steps[-1]
    assert steps == [total // 4, total // 2, total * 3 // 4, total]
    rates = [store.read(p[0], "history.json")[-1]["learning_rate"] for p in fits]
    assert rates == sorted(rates, reverse=True), "one schedule"


def test_fits_may_differ_in_weight_decay_and_peak(run_tiny: Run) -> None:
    """A fit with another decay is the fit of a run whose training has that decay."""
    store, tickets = run_tiny(
        "method=soup",
        "method.cycles=1",
        "method.num_particles=1",
        "method.variations=[{weight_decay:0.01},{peak:0.02}]",
    )
    decayed, slower = store.description(tickets[-1])["inputs"]
    train = [store.description(key)["config"]["train"] for key in (decayed, slower)]
    assert [t["optimizer"]["weight_decay"] for t in train] == [0.01, 0.0005]
    assert train[1]["schedule"]["peak"] == 0.02 != train[0]["schedule"]["peak"]
    rates = [store.read(k, "history.json")[0]["learning_rate"] for k in (decayed, slower)]
    assert rates[1] == pytest.approx(rates[0] * 0.02 / train[0]["schedule"]["peak"])


def test_averages_of_unequal_length_count_by_their_snapshots(run_tiny: Run) -> None:
    """One particle averages three epochs, the other two: the average is that of five snapshots."""
    store, tickets = run_tiny(
        "method=swamp",
        "method.cycles=1",
        "method.num_particles=1",
        "method.variations=[{particle:0,epochs:3},{particle:1,epochs:2}]",
        "method.average_from=0",
        "method.several_from=1",
        "method.studies=[]",
        "train.epochs=1",
    )
    longer, shorter = store.description(tickets[-1])["inputs"]
    counts = [store.read(key, "topology.json")["num_snapshots"] for key in (longer, shorter)]
    assert counts == [3, 2]
    one, other = weights_of(store, longer), weights_of(store, shorter)
    for name, value in weights_of(store, tickets[-1]).items():
        mean = (3 * one[name].double() + 2 * other[name].double()) / 5
        assert torch.allclose(value.double(), mean, rtol=0, atol=1e-7)
        assert not torch.allclose(value, (one[name] + other[name]) / 2, rtol=0, atol=1e-7)


@pytest.fixture
def soup(tiny: Callable[..., PreparedRun]) -> tuple[PreparedRun, dict]:
    """A soup of two with both studies; the last row of its record."""
    studies = ",".join(
        f"{{_target_:sparsekit.method.studies.{name}}}" for name in ("particles", "barriers")
    )
    job = tiny(
        "method=soup", "method.cycles=2", "method.num_particles=2", f"method.studies=[{studies}]",
        "train.epochs=2",
    )  # fmt: skip
    return job, run_prepared(job, "test")["rows"]


def judge_of(job: PreparedRun, key: str) -> NetworkJudge:
    return job.judge.on(stored_network(job.store, key))


def test_what_is_said_of_particles_is_measured_on_them(soup: tuple[PreparedRun, list]) -> None:
    job, rows = soup
    store, row = job.store, rows[-1]
    judge = judge_of(job, row["ticket"])
    said = store.read(row["studies"]["particles"], "study.json")
    particles = store.description(row["ticket"])["inputs"]
    assert [one["key"] for one in said["particles"]] == particles
    states = [weights_of(store, key) for key in particles]
    accuracies = []
    for one, state in zip(said["particles"], states, strict=True):
        measured = judge.measure([state])
        assert {name: one[name] for name in measured} == measured
        accuracies.append(measured["test_accuracy"])
    merged = store.read(row["ticket"], "metrics.json")
    assert said["merged"]["test_accuracy"] == merged["test_accuracy"]
    mean = sum(accuracies) / 2
    assert said["mean"]["test_accuracy"] == pytest.approx(mean)
    assert said["gap_to_mean"]["test_accuracy"] == pytest.approx(merged["test_accuracy"] - mean)
    names = list(judge.parameters(states[0]))
    square = sum(float((states[0][n] - states[1][n]).double().square().sum()) for n in names)
    assert said["geometry"]["distances"][0][1] == pytest.approx(square**0.5)


def test_the_prediction_ensemble_averages_probabilities(soup: tuple[PreparedRun, list]) -> None:
    job, rows = soup
    said = job.store.read(rows[-1]["studies"]["particles"], "study.json")
    particles = job.store.description(rows[-1]["ticket"])["inputs"]
    judge = judge_of(job, particles[0])
    models = [judge.model(weights_of(job.store, key)).eval() for key in particles]
    correct = count = 0
    for images, labels in judge.batches("test"):
        with torch.no_grad():
            mean = sum(model(images).double().softmax(1) for model in models) / 2
        correct += int((mean.argmax(1) == labels).sum())
        count += len(labels)
    assert said["ensemble"]["test_accuracy"] == correct / count
    state = weights_of(job.store, particles[0])
    twice, once = judge.measure([state, state]), judge.measure([state])
    assert twice == pytest.approx(once), "an ensemble of equals is each of them"


def test_barriers_begin_and_end_at_what_they_lie_between(soup: tuple[PreparedRun, list]) -> None:
    job, rows = soup
    reason = "needs two particles, or a cycle before this one, to walk between"
    assert rows[0]["skipped_studies"] == {"barriers": reason}, "nothing to compare, and it says so"
    judge = judge_of(job, rows[-1]["ticket"])
    study = job.store.read(rows[-1]["studies"]["barriers"], "study.json")
    assert study["alphas"] == [i / 10 for i in range(11)]
    particles, cycles = study["pairs"]
    assert particles["kind"] == "particles"
    assert cycles["kind"] == "cycles"
    assert cycles["between"] == [rows[-2]["ticket"], rows[-1]["ticket"]]
    for pair in (particles, cycles):
        ends = [judge.measure([weights_of(job.store, key)]) for key in pair["between"]]
        for split in ("val", "test"):
            errors = pair[f"{split}_error"]
            expected = [1 - end[f"{split}_accuracy"] for end in ends]
            assert [errors[0], errors[-1]] == pytest.approx(expected)
            highest = max(errors) - (errors[0] + errors[-1]) / 2
            assert pair[f"{split}_instability"] == pytest.approx(highest)
            assert pair[f"{split}_barrier"] >= 0
            losses = [pair[f"{split}_loss"][end] for end in (0, -1)]
            assert losses == pytest.approx([end[f"{split}_loss"] for end in ends])
            assert pair[f"{split}_loss_barrier"] >= 0


def test_the_overlap_of_equal_particles_is_imp(run_tiny: Run) -> None:
    merge = "method.merge={_target_:sparsekit.core.averaging.uniform_soup}"
    store, plain = run_tiny("method=imp", "method.cycles=2")
    asked = ("method=imp", "method.cycles=2", "method.sources=particles", merge)
    _, equal = run_tiny(*asked, "method.variations=[{},{}]")
    assert equal[-1] != plain[-1], "two particles were there"
    one, other = weights_of(store, plain[-1]), weights_of(store, equal[-1])
    assert all(torch.equal(one[name], other[name]) for name in one)
    _, differing = run_tiny(*asked, "method.num_particles=2")
    first, second = (store.description(key)["inputs"] for key in differing[1:])
    overlap = masks_of(store, second[0])
    assert kept(overlap) < kept(masks_of(store, plain[-1])), "what only one of them keeps is gone"
    assert all(is_within(overlap, masks_of(store, key)) for key in first)
