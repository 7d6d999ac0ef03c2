"""`cluster`, a real SLURM cluster that the workers of a test run share; `alone`, to break it."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterator
from typing import IO

import pytest

from tests.slurm.cluster import Cluster, folder_of_this_run, join, started, turn

SKIP = "SPARSEKIT_SKIP_SLURM"


@functools.cache
def this_process() -> IO[str]:
    """Keeps the cluster until this process ends."""
    return join(folder_of_this_run())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for the turn of a test before its clock starts."""
    this_process()
    with turn(folder_of_this_run(), alone="alone" in getattr(item, "fixturenames", ())):
        return (yield)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Four nodes of four CPUs and two pretended GPUs; $SLURM_CONF leads there.

    Where there can be none, tests fail, because a test that did not run has not passed.
    """
    if os.environ.get(SKIP) == "1":
        pytest.skip(f"{SKIP}=1")
    try:
        cluster = started(folder_of_this_run())
    except RuntimeError as error:
        pytest.fail(
            f"no SLURM cluster: {error}\n"
            f"{SKIP}=1 skips the tests that need one, -m 'not slurm' leaves them out",
            pytrace=False,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(cluster.configuration))
        yield cluster


@pytest.fixture
def alone(cluster: Cluster) -> Iterator[None]:
    """The test has the cluster for itself and may break it; afterwards it is whole again."""
    cluster.is_mine_alone = True
    yield
    cluster.repair()
    cluster.is_mine_alone = False
