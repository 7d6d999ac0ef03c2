"""Shared by all tests: one CPU thread, so that a forked process may go on computing."""

from __future__ import annotations

import atexit
import copy
import functools
import gc
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests leave nothing in a home; jobs of a cluster find the same place.
os.environ["XDG_STATE_HOME"] = os.path.join(tempfile.gettempdir(), f"sparsekit-{os.getuid()}")
# Asks the driver's library whether there is a GPU: asking CUDA would forbid it to forked processes.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import pytest
import torch
from hydra._internal.config_repository import ConfigRepository
from lightning.fabric.utilities import registry

from sparsekit.configuration import compose
from sparsekit.configuration.compose import compose_one, compose_runs
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.sweep_files import key_of
from sparsekit.runs.runner import PreparedRun, prepare_run, run_prepared
from sparsekit.store.store import Store
from sparsekit.system import interruption
from tests import memory, warm
from tests.slurm import warm_jobs

torch.set_num_threads(1)
atexit.register(gc.unfreeze)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell; tests interrupt what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as under nohup

TINY = (
    "model=mlp",
    "data=digits",
    "logger=none",
    "train.epochs=0.5",
    "train.evaluate_every=1",
    "runtime.accelerator=cpu",
    "runtime.progress=none",
)

FEW = 50
"""Tests, for which it does not pay to prepare the memory of this process."""
SPARSE = "sparsity=0.8"  # of the methods that refer to it
BY_HYDRA = compose._composed
READ_BY_HYDRA = ConfigRepository.load_config
READ: dict[str, Any] = {}


@functools.cache
def _shipped(options: tuple[str, ...]) -> tuple[Any, dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", _read_once)
        return BY_HYDRA(options, ())


def _read_once(repository: ConfigRepository, config_path: str) -> Any:
    """What Hydra reads of a shipped file, a quarter of what it does."""
    if config_path not in READ:
        READ[config_path] = READ_BY_HYDRA(repository, config_path)
    return copy.deepcopy(READ[config_path])


def _composed(options: Sequence[str], folders: Sequence[Path]) -> tuple[Any, dict[str, str]]:
    """What Hydra composes of shipped options, once in a process; folders of users each time.

    It takes a tenth of a second and depends on nothing else: values, interpolations and checks
    come afterwards, on a copy.
    """
    return BY_HYDRA(options, folders) if folders else _shipped(tuple(options))


compose._composed = _composed
# Every Trainer asks the files of all installed packages for callbacks.
registry.entry_points = functools.cache(registry.entry_points)


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs unless their tests are asked for: what forks and counts devices expects none."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """All is imported that tests need, and many of them fork; those on a cluster have it done."""
    if len(session.items) > FEW and session.config.option.markexpr != "slurm":
        memory.settle()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: Sequence[Any]) -> None:
    """Workers of xdist begin as forks of this process, which has imported what they need."""
    for spec in specs:
        spec.python = warm_jobs.python()


@pytest.fixture(autouse=True)
def deaf() -> Iterator[None]:
    """A test that runs a sweep in this process leaves the signals as they were."""
    yield
    if interruption.listening():
        interruption.forget()


@pytest.fixture
def warm_spawn() -> Iterator[None]:
    """Workers and ranks of this test need not import PyTorch anew; those of other tests do."""
    with warm.spawning():
        yield


def tiny_run(root: Path, overrides: Sequence[str]) -> PreparedRun:
    """The one job of tiny real training in the store `root`."""
    asked = {key_of(text) for text in overrides}
    defaults = [text for text in TINY if key_of(text) not in asked]
    rest = [f"runtime.store={root}", *overrides]
    try:
        sparse = [] if "sparsity" in asked else [SPARSE]
        return prepare_run(compose_runs([*defaults, *sparse, *rest])[0])
    except ConfigError as error:
        if f"{SPARSE} would be ignored" not in str(error):
            raise
    return prepare_run(compose_runs([*defaults, *rest])[0])


def run_to_its_end(job: PreparedRun) -> tuple[Store, list[str]]:
    """The store of a run, and the keys of the cycles' tickets."""
    record = run_prepared(job, "test")
    return job.store, [row["ticket"] for row in record["rows"]]


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., PreparedRun]:
    """Builds the one job of tiny real training: `tiny("method=imp", store="a")`."""

    def build(*overrides: str, store: str = "runs") -> PreparedRun:
        return tiny_run(tmp_path / store, overrides)

    return build


@pytest.fixture
def run_tiny(tiny: Callable[..., PreparedRun]) -> Callable[..., tuple[Store, list[str]]]:
    """Runs such a job; gives the store and the keys of the cycles' tickets."""

    def run(*overrides: str, store: str = "runs") -> tuple[Store, list[str]]:
        return run_to_its_end(tiny(*overrides, store=store))

    return run


def short(method_file: Path) -> Sequence[str]:
    """Overrides that make any method of `configs/method` run in a second."""
    overrides = [f"method={method_file.stem}"]
    config = compose_one([*TINY, *overrides]).config["method"]  # composed so for its run as well
    if config.get("cycles", 0) > 1:
        overrides.append("method.cycles=2")
    if config.get("retrain_epochs"):
        overrides.append("method.retrain_epochs=0.4")
    if config.get("average_from"):
        overrides += ["train.epochs=2.3", "method.average_from=0", "method.cycles=1"]
        overrides.append("train.batch_size=128")
        overrides.remove("method.cycles=2")
    if config.get("several_from", 1) > 1:
        overrides.append("method.several_from=1")
    if config.get("num_particles", 1) > 1:
        overrides.append("method.num_particles=2")
    if config.get("span"):
        overrides.append("method.span=[0.3,0.7]")
    if config.get("mover"):
        overrides.append("method.mover.interval=2")
    if config.get("retrain_times", 1) > 1:
        overrides.append("method.retrain_times=1.5")
    return overrides
