"""Runs that start from a stored network or from a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sparsekit.configuration.config import ConfigError
from sparsekit.core.types import Masks, State
from sparsekit.networks.network import stored_network
from sparsekit.report.compare import differences
from sparsekit.runs import rehearsal_model
from sparsekit.runs.planning import plan_run
from sparsekit.runs.runner import PreparedRun, rehearse_all, run_prepared
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from tests.conformance.deaths import AROUND_STAGES, run_through_deaths

Run = Callable[..., tuple[Store, list[str]]]
Tiny = Callable[..., PreparedRun]
FIRST = ("method=one_shot", "sparsity=0.95", "data.classes=[0,1,2,3,4]", "data.num_test=180")
OTHERS = ("method=dense", "data.classes=[5,6,7,8]", "data.num_test=180")


def transfer(key: str) -> tuple[str, ...]:
    return (*OTHERS, "+source=stored", f"source.key={key}")


def start_of(store: Store, ticket: str) -> str:
    pruned = store.description(store.description(ticket)["inputs"][0])["inputs"][0]
    return str(store.description(pruned)["inputs"][0])


@pytest.mark.parametrize("removed", [(), ("+transform=remove_channels",)], ids=["masks", "small"])
def test_a_ticket_learns_other_classes_with_its_masks(
    removed: tuple[str, ...], run_tiny: Run
) -> None:
    store, tickets = run_tiny(*FIRST, *removed)
    source, masks = load_network(store, tickets[-1])
    _, [ticket] = run_tiny(*transfer(tickets[-1]))
    init = start_of(store, ticket)
    assert store.description(init)["inputs"] == [tickets[-1]]
    begun, _ = load_network(store, init)
    state, kept = load_network(store, ticket)
    assert begun["1.weight"].equal(source["1.weight"])
    assert len(state["5.bias"]) == 4
    for name in ("1.weight", "3.weight"):
        assert kept[name].equal(masks[name])
        assert not state[name].equal(source[name])
    assert bool(kept["5.weight"].all())
    assert store.read(ticket, "metrics.json")["num_parameters"] == sum(
        p.numel() for p in stored_network(store, ticket).build().parameters()
    )


def test_linear_probing_trains_the_head_alone(run_tiny: Run) -> None:
    store, tickets = run_tiny(*FIRST)
    source, _ = load_network(store, tickets[-1])
    _, [ticket] = run_tiny(*transfer(tickets[-1]), "train.trainable=head")
    state, _ = load_network(store, ticket)
    begun, _ = load_network(store, start_of(store, ticket))
    assert {n for n in state if not state[n].equal(begun[n])} == {"5.weight", "5.bias"}
    assert all(state[n].equal(source[n]) for n in state if not n.startswith("5."))


def test_batchnorm_of_frozen_layers_keeps_its_statistics(run_tiny: Run) -> None:
    small = ("model=resnet20", "model.depth=8", "model.width=8", "train.epochs=0.1")
    store, tickets = run_tiny(*FIRST, *small)
    _, [ticket] = run_tiny(*transfer(tickets[-1]), *small, "train.trainable=head")
    state, begun = load_network(store, ticket)[0], load_network(store, start_of(store, ticket))[0]
    assert {n for n in state if not state[n].equal(begun[n])} == {"fc.weight", "fc.bias"}


def test_killed_around_every_stage_same_bits_and_planned(
    run_tiny: Run, tiny: Tiny, tmp_path: Path
) -> None:
    for name in ("undisturbed", "killed"):
        store, tickets = run_tiny(*FIRST, store=name)
    overrides = (*transfer(tickets[-1]), "train.trainable=head")
    undisturbed, _ = run_tiny(*overrides, store="undisturbed")
    job = tiny(*overrides, store="killed")
    known = {key for kind in store.kinds() for key in store.keys(kind)}
    run_through_deaths(lambda: run_prepared(job, "test"), tmp_path / "diary", kinds=AROUND_STAGES)
    assert differences(undisturbed, job.store) == []
    new = {key for kind in store.kinds() for key in store.keys(kind)} - known
    assert new == {stage.key for stage in plan_run(job)}


def test_weights_drawn_anew_in_the_network_of_the_source(run_tiny: Run) -> None:
    store, tickets = run_tiny(*FIRST, "+transform=remove_channels")
    again = (*transfer(tickets[-1])[1:], "method=one_shot", "sparsity=0.97")
    _, plain = run_tiny(*again)
    _, drawn = run_tiny(*again, "+control=reinitialise")
    states = [load_network(store, start_of(store, run[-1]))[0] for run in (plain, drawn)]
    assert [t.shape for t in states[0].values()] == [t.shape for t in states[1].values()]
    assert not states[0]["1.weight"].equal(states[1]["1.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_is_a_source(suffix: str, run_tiny: Run, tiny: Tiny, tmp_path: Path) -> None:
    store, tickets = run_tiny("method=one_shot", "sparsity=0.9")
    state, masks = load_network(store, tickets[-1])
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": {f"model.{n}": t for n, t in state.items()}}, path)
    else:
        save_file(state, path)
    asked = ("method=dense", "+source=checkpoint", f"source.path={path}")
    _, [ticket] = run_tiny(*asked, "source.zeros_are_pruned=true")
    begun, kept = load_network(store, start_of(store, ticket))
    assert all(begun[name].equal(state[name]) for name in state)
    assert all(kept[name].equal(masks[name]) for name in masks)
    _, [dense] = run_tiny(*asked)
    assert all(bool(mask.all()) for mask in load_network(store, dense)[1].values())
    state["1.bias"] = state["1.bias"] + 1
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    with pytest.raises(ValueError, match="is not the file that the results"):
        run_prepared(tiny(*asked), "test")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("+source=stored", "source.key=ticket-0123456789abcdef0123"), "is not in the store"),
        (
            ("+source=checkpoint", "source.path=/nowhere.pt"),
            "nowhere.pt cannot be read: .*No such file",
        ),
        (("train.trainable=[nothing.*]",), "'nothing.*' matches none"),
        (("train.trainable=some",), "neither 'head' nor a list"),
        (("method=rigl", "train.trainable=head"), "frozen weights would move"),
    ],
)
def test_what_cannot_work_is_refused_first(
    overrides: tuple[str, ...], message: str, tiny: Tiny
) -> None:
    with pytest.raises(ConfigError, match=message):
        rehearse_all([tiny(*overrides)])


def test_a_source_is_rehearsed_with_its_masks(
    run_tiny: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, tickets = run_tiny(*FIRST, "+transform=remove_channels")
    _, kept = load_network(store, tickets[-1])
    seen = []

    def prune_rows(prune: object, weights: State, masks: Masks, *_: object, **__: object) -> Masks:
        assert all(weights[name].shape == mask.shape for name, mask in masks.items())
        seen.append(masks)
        return masks

    monkeypatch.setattr(rehearsal_model, "prune_rows", prune_rows)
    asked = (*transfer(tickets[-1])[1:], "method=one_shot")
    rehearse_all([tiny(*asked, "sparsity=0.5")])
    assert seen == [], "it has fewer weights already"
    rehearse_all([tiny(*asked, "sparsity=0.99")])
    for name in ("1.weight", "3.weight"):
        assert seen[0][name].equal(kept[name])
        assert not bool(kept[name].all())


def test_another_model_or_another_file_is_refused(
    run_tiny: Run, tiny: Tiny, tmp_path: Path
) -> None:
    _, tickets = run_tiny(*FIRST)
    with pytest.raises(ConfigError, match=r"is a network with model .*'hidden': \[64, 64\]"):
        rehearse_all([tiny(*transfer(tickets[-1]), "model.hidden=[32]")])
    with pytest.raises(ConfigError, match=r"has 5 outputs, the data set needs 4"):
        rehearse_all([tiny(*transfer(tickets[-1]), "source.head=keep")])
    path = tmp_path / "weights.pt"
    torch.save({"1.weight": torch.zeros(3, 64), "extra": torch.zeros(1)}, path)
    asked = ("method=dense", "+source=checkpoint", f"source.path={path}")
    with pytest.raises(ConfigError, match=r"1.weight is \[3, 64\], not \[64, 64\]"):
        rehearse_all([tiny(*asked)])
