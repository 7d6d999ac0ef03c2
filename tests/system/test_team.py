"""Nodes that train together, as processes would: each side in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sparsekit.system import interruption, team
from sparsekit.system.interruption import Stopped
from sparsekit.system.team import Call, Team, team_here
from tests.waiting import PATIENCE, wait_until

Follow = Callable[[Callable[[Call], object]], "Future[list[int]]"]


@pytest.fixture
def leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setattr(team, "ANSWER_SECONDS", 2.0)
    return Team(tmp_path / "teams" / "0000.json", rank=0, size=2)


@pytest.fixture
def follow(leader: Team) -> Iterator[Follow]:
    """Starts the second node, which does this in each call; gives the numbers of its calls."""
    with ThreadPoolExecutor(1) as threads:

        def start(work: Callable[[Call], object]) -> Future[list[int]]:
            return threads.submit(_followed, Team(leader.file, rank=1, size=2), work)

        yield start


def _followed(second: Team, work: Callable[[Call], object]) -> list[int]:
    numbers = []
    for call in second.calls():
        numbers.append(call.number)
        try:
            with second.part(call.number):
                work(call)
        except (Exception, Stopped):
            pass
    return numbers


def test_all_nodes_work_at_what_the_first_asks(leader: Team, follow: Follow) -> None:
    seen: list[object] = []
    second = follow(lambda call: seen.append(call.work["fit"]))
    with leader:
        for fit in ("a", "b", "c"):
            call = leader.call({"fit": fit})
            with leader.part(call.number):
                pass
            assert seen[-1] == fit, "the first goes on when the others have ended"
    assert second.result(PATIENCE) == [0, 1, 2]
    assert seen == ["a", "b", "c"]


def test_nothing_to_do(leader: Team, follow: Follow) -> None:
    second = follow(lambda call: None)
    with leader:
        pass
    assert second.result(PATIENCE) == []


def test_an_error_elsewhere_is_raised_here_and_ends_the_part_here(
    leader: Team, follow: Follow
) -> None:
    def fail(call: Call) -> None:
        raise ValueError("no such data")

    second = follow(fail)
    with leader:
        call = leader.call({})
        with pytest.raises(
            RuntimeError, match=r"(?s)1 of 2 nodes failed\n--- node 1.*no such data"
        ):
            _lose_ranks(leader, call)
        with leader.part(leader.call({}).number):
            pass
    assert second.result(PATIENCE) == [0, 1]


def test_an_error_here_ends_the_parts_elsewhere(leader: Team, follow: Follow) -> None:
    ended = threading.Event()

    def work(call: Call) -> None:
        ended.wait(PATIENCE)
        raise OSError("its ranks were killed")

    second = follow(work)
    with leader:
        call = leader.call({})
        told = r"(?s)1 of 2 nodes failed\n--- node 0.*diverged"
        with pytest.raises(RuntimeError, match=told), leader.part(call.number):
            raise ValueError("diverged")
        assert leader.told(call.number)[1]["state"] == "ended"
        ended.set()
    assert second.result(PATIENCE) == [0]


def test_asked_to_end_elsewhere(leader: Team, follow: Follow) -> None:
    def stop(call: Call) -> None:
        raise Stopped(("SIGUSR2",))

    second = follow(stop)
    with leader, pytest.raises(Stopped) as stopped:
        _lose_ranks(leader, leader.call({}))
    assert stopped.value.signals == ("SIGUSR2",)
    assert second.result(PATIENCE) == [0]


def test_asked_to_end_here_nobody_is_waited_for(
    leader: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "asked", lambda: True)
    monkeypatch.setattr(interruption, "received", lambda: ("SIGTERM",))
    monkeypatch.setattr(team, "ANSWER_SECONDS", 1000.0)
    with leader, pytest.raises(Stopped, match="SIGTERM"), leader.part(leader.call({}).number):
        raise OSError("the connection is lost")


def test_a_node_that_is_lost_is_no_failure(leader: Team) -> None:
    told = "the loss of node 1 of the job"
    with leader, pytest.raises(Stopped, match=told), leader.part(leader.call({}).number):
        raise OSError("the connection is lost")


def test_a_first_node_that_is_lost_is_noticed(leader: Team, follow: Follow) -> None:
    called = threading.Event()
    second = follow(lambda call: called.set())
    leader.call({})
    assert called.wait(PATIENCE)
    leader._store = None
    with pytest.raises(ConnectionError, match="the first node of the job is gone"):
        second.result(PATIENCE)


def test_where_a_job_says_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"SLURM_NNODES": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "17"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    here = team_here(tmp_path, "0002")
    assert (here.rank, here.size, here.is_leader) == (3, 4, False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert team_here(tmp_path, "0002").file != here.file, "each attempt has a file of its own"
    with pytest.raises(ValueError, match="rank=4 is not one of 0 to 3"):
        Team(tmp_path, rank=4, size=4)


def _lose_ranks(leader: Team, call: Call) -> None:
    """A part whose ranks are killed when another node's part has ended unfinished."""
    with leader.part(call.number):
        wait_until(
            lambda: any(one["state"] != "done" for one in leader.told(call.number).values()),
            "no part ends unfinished",
        )
        threading.Event().wait(3 * team.POLL_SECONDS)
        raise OSError("its ranks were killed")
