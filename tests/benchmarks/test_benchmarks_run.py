"""Every benchmark runs in its smallest form, prints its table and appends it to a file."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks import timing
from benchmarks.training import __main__ as training

EXPECTED = {
    "masks": ("| dense ", "torch.nn.utils.parametrize", "are equal, bit for bit"),
    "mask_memory": ("bytes per masked weight", "| float copies, foreach ", "masking alone"),
    "data_pipeline": ("| ours ", "torchvision, 2 workers", "images/s"),
    "image_folders": ("| ours, without simplejpeg ", "| torchvision, v2 ", "images/s"),
    "selection": ("ours: prune()", "torch.kthvalue", "all of them ties"),
    "topology": ("| ours ", "loop over neurons", "are equal, bit for bit", "rows ablated"),
    "start_up": ("| --help ", "target at most 1"),
    "status_scale": ("| 6 running ", "31 of them garbage", "All 6 runs are seen", "at most 2"),
    "sweep_scale": ("| compose and check ", "16 runs, 544 stages", "| ask for one ", "at most 30"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_runs_and_reports(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.md"
    benchmark = importlib.import_module(f"benchmarks.{name}")
    assert benchmark.main(["--quick", "--rounds", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed in out.read_text()
    for text in (*EXPECTED[name], "1 thread, 1 rounds", "commit ", "| range "):
        assert text in printed


@pytest.mark.parametrize("part", [("steps", "| fit "), ("pruning", "| IMP by method/loop.py ")])
def test_training_is_that_of_the_scripts(
    part: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert training.main(["--quick", "--rounds", "1", "--parts", part[0]]) == 0
    printed = capsys.readouterr().out
    for text in ("| bare loop ", part[1], "are equal, bit for bit", "cpu time", "target at most"):
        assert text in printed
    assert "DIFFER" not in printed


def test_every_script_is_tested() -> None:
    helpers = {"__init__", "timing", "inputs"}
    elsewhere = {"work_saved"}
    scripts = {file.stem for file in Path(timing.__file__).parent.glob("*.py")}
    assert scripts - helpers - elsewhere == set(EXPECTED)


def test_ways_take_turns() -> None:
    turns: list[str] = []
    ways = {name: lambda name=name: turns.append(name) for name in "ab"}
    samples = timing.interleave(ways, rounds=2)
    assert "".join(turns) == "ababab"
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 2, "b": 2}


def test_ratios_are_taken_within_rounds() -> None:
    times = {"base": [1.0, 10.0, 100.0], "way": [2.0, 20.0, 300.0]}
    ratio = timing.paired(times, "way", "base")
    assert (ratio.median, ratio.lowest, ratio.highest) == (2.0, 2.0, 3.0)
    assert timing.rows(times, base="base")[1][:3] == ["way", "20 s", "2.000"]


@pytest.mark.parametrize(("value", "verdict"), [(1.0, "reached"), (1.2, "MISSED")])
def test_a_target_is_judged_by_the_median(value: float, verdict: str) -> None:
    assert f"**{verdict}**" in timing.at_most("it", timing.spread([0.5, value, 9.0]), 1.1)
