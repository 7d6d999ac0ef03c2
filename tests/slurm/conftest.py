"""`cluster`, a real SLURM cluster that the tests of a run share; `own_cluster`, one to break."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import IO

import pytest

from tests.slurm.cluster import Cluster, folder_of_this_run, join, own, shared

SKIP = "SPARSEKIT_SKIP_SLURM"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest, for the limits of its jobs are minutes, begins first."""
    items.sort(key=lambda item: item.name != "test_time_limit_hit_twice")


@functools.cache
def this_process() -> IO[str]:
    """Keeps the clusters until this process ends."""
    return join(folder_of_this_run())


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes of four CPUs and two pretended GPUs; $SLURM_CONF leads there.

    Where there can be none, tests fail, because a test that did not run has not passed.
    """
    with _or_fail():
        this_process()
        cluster = shared(folder_of_this_run())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster


@pytest.fixture
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Such a cluster for this test, which may break it."""
    with contextlib.ExitStack() as stack:
        with _or_fail():
            this_process()
            cluster = stack.enter_context(own(folder_of_this_run()))
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster


@contextlib.contextmanager
def _or_fail() -> Iterator[None]:
    if os.environ.get(SKIP) == "1":
        pytest.skip(f"{SKIP}=1")
    try:
        yield
    except RuntimeError as error:
        pytest.fail(
            f"no SLURM cluster: {error}\n"
            f"{SKIP}=1 skips the tests that need one, -m 'not slurm' leaves them out",
            pytrace=False,
        )
