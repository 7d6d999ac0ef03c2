"""The slower of reading and multiplying binds, and speeds are positive numbers."""

from __future__ import annotations

import time

import pytest

from sparsekit.measuring import limits
from sparsekit.measuring.limits import Limit, Speeds, Work, limit, measure_speeds


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (Work(num_bytes=8, multiply_adds=100), Limit(4.0, "memory")),
        (Work(num_bytes=2, multiply_adds=300), Limit(3.0, "arithmetic")),
    ],
)
def test_the_slower_binds(work: Work, expected: Limit) -> None:
    assert limit(work, Speeds(bytes_read=2, multiply_adds=100)) == expected


@pytest.mark.parametrize("num_bytes", [0, 5000])
def test_small_buffers_are_measured_too(num_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASS", 2**14)
    monkeypatch.setattr(limits, "SIZE", 64)

    speeds = measure_speeds(num_bytes, time.perf_counter)

    assert speeds.bytes_read > 0
    assert speeds.multiply_adds > 0
