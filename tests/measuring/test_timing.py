"""Samples are taken in turns, and are times of one call; nothing here is held against a bound."""

from __future__ import annotations

from collections.abc import Callable

from sparsekit.measuring.timing import clock_for, faster, interleave, quickest, repeated, timed


class Ticking:
    """A clock that moves only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> Callable[[], None]:
        def done() -> None:
            self.now += seconds

        return done


def test_every_way_has_its_turn_in_every_round() -> None:
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "AB"}

    samples = interleave(ways, rounds=2, warm_up=1)

    assert "".join(order) == "ABABAB"
    assert [len(found) for found in samples.values()] == [2, 2]


def test_a_sample_is_the_time_of_one_call() -> None:
    clock = Ticking()

    assert timed(clock.work(3.0), clock, calls=4)() == 3.0


def test_short_work_is_repeated_until_a_sample_is_long_enough() -> None:
    clock = Ticking()
    way = repeated(clock.work(0.25), clock, seconds=1.0)
    before = clock.now

    assert way() == 0.25
    assert clock.now - before == 5 * 0.25, "four that count, and one before them"


def test_long_work_is_done_once() -> None:
    clock = Ticking()
    way = repeated(clock.work(11.0), clock, seconds=1.0)
    before = clock.now

    assert way() == 11.0
    assert clock.now - before == 11.0


def test_how_many_times_as_fast_is_taken_round_by_round() -> None:
    times = {"sparse": [1.0, 2.0, 4.0], "dense": [3.0, 4.0, 4.0]}

    ratio = faster(times, "sparse", "dense")

    assert (ratio.lowest, ratio.median, ratio.highest) == (1.0, 2.0, 3.0)


def test_the_quickest_has_the_lowest_median() -> None:
    times = {"eager": [3.0, 1.0, 3.0], "compiled": [2.0, 2.0, 2.0], "ours": [1.0, 1.0, 1.0]}

    assert quickest(times, ["eager", "compiled", "onnxruntime"]) == "compiled"
    assert quickest(times, ["onnxruntime"]) is None


def test_one_thread_is_measured_by_its_own_time() -> None:
    assert clock_for(1) is not clock_for(2)
