"""What a GPU must keep of the promises of every method. Run it where there is one:

    python -m pytest -m gpu -n 8 tests

All training happens in forks of this process, which must not touch CUDA itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import sparsekit
from sparsekit.core.counts import budget
from sparsekit.core.types import Masks
from sparsekit.data.digits import digits
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from tests.conformance.deaths import WITHIN_FITS, run_through_deaths
from tests.conformance.test_methods import CASES, TEXT, left_over
from tests.conformance.test_transforms import REMOVED

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
RESNET = ("model=resnet20", "train.channels_last=true", "train.epochs=0.2")
ON_A_GPU = [
    *CASES,
    pytest.param(
        ["method=swamp", "method.cycles=2", "method.several_from=1", *TEXT], id="swamp, text"
    ),
    pytest.param(["method=imp", "method.cycles=2", *RESNET], id="convolutions"),
    pytest.param(["method=imp", "method.cycles=2", "train.precision=bf16-mixed"], id="bf16"),
    pytest.param(["method=imp", "method.cycles=2", "train.precision=16-mixed"], id="16-mixed"),
    pytest.param(["method=one_shot", "+distillation=logits"], id="distillation"),
    pytest.param(["method=one_shot", "+distillation=features"], id="features"),
    pytest.param(["method=one_shot", "sparsity=0.95", REMOVED], id="removal of neurons"),
]
Tiny = Callable[..., PreparedRun]


def trained(job: PreparedRun, diary: Path, kinds: Sequence[str] = ()) -> Store:
    """Run a job in forks of this process, killed at places of these kinds."""
    places = run_through_deaths(lambda: run_prepared(job, "test"), diary, kinds=kinds)
    assert {place.split()[0] for place in places} == set(kinds)
    return job.store


def tickets(store: Store) -> list[str]:
    return sorted(store.keys("ticket"))


def kept(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def is_dense(masks: Masks) -> bool:
    return all(bool(mask.all()) for mask in masks.values())


def is_exact(job: PreparedRun, masks: Masks) -> bool:
    """Do these masks meet the budget of a cycle? After removal of rows nothing says of what."""
    cycles = list(job.method.plan())
    if job.method.transform is not None or any(cycle.sources == "apart" for cycle in cycles):
        return True
    total = sum(mask.numel() for mask in masks.values())
    missing = [budget(total, cycle.sparsity) - kept(masks) for cycle in cycles]
    return any(0 <= number <= left_over(job, masks) for number in missing)


@pytest.mark.parametrize("overrides", ON_A_GPU, indirect=True)
def test_killed_within_fits_same_bits(overrides: list[str], tiny: Tiny, tmp_path: Path) -> None:
    asked = [*overrides, "runtime.accelerator=gpu"]
    undisturbed = trained(tiny(*asked, store="undisturbed"), tmp_path / "undisturbed.txt")
    job = tiny(*asked, "runtime.checkpoint_seconds=0", store="killed")
    killed = trained(job, tmp_path / "killed.txt", WITHIN_FITS)
    assert differences(undisturbed, killed) == []
    for key in tickets(killed):
        state, masks = load_network(killed, key)
        assert killed.read(key, "metrics.json")["num_kept"] == kept(masks)
        assert all(bool((state[name][~mask] == 0).all()) for name, mask in masks.items())
        assert all(bool((state[name][mask] != 0).any()) for name, mask in masks.items())
        assert is_exact(job, masks), "masks may differ from a CPU's, counts may not"


def test_a_cpu_sees_the_network_that_a_gpu_trained(tiny: Tiny, tmp_path: Path) -> None:
    job = tiny("method=one_shot", "train.epochs=3", "runtime.accelerator=gpu")
    store = trained(job, tmp_path / "diary")
    (key,) = (one for one in tickets(store) if not is_dense(load_network(store, one)[1]))
    network = sparsekit.load(store.path(key))
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    ((images, targets),) = digits(tmp_path).eval_batches(
        "test", batch_size=1000, device=torch.device("cpu")
    )
    with torch.no_grad():
        accuracy = (network(images).argmax(1) == targets).float().mean().item()
    assert accuracy == pytest.approx(store.read(key, "metrics.json")["test_accuracy"], abs=0.006)
    assert accuracy > 0.5
