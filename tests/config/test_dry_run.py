"""What --dry-run says is what happens, and nothing happens while it says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit import run
from sparsekit.runs.runner import PreparedRun, run_prepared
from tests.conftest import TINY

Printed = Callable[..., list[list[str]]]
TOTAL = re.compile(
    r"(\d+) runs?, (\d+) stages: (\d+) done, (\d+) shared, (\d+) to compute \((\d+) fits?\)"
)


@pytest.fixture
def forecast(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Printed:
    """Runs the command with --dry-run; the cells of the table's rows, those of the total last."""

    def ask(*given: str) -> list[list[str]]:
        store = f"runtime.store={tmp_path / 'runs'}"
        assert run.main(["--dry-run", *TINY[:-1], store, *given]) == 0
        *table, total = capsys.readouterr().out.splitlines()
        found = TOTAL.fullmatch(total)
        assert found, total
        rows = [line.split() for line in table if re.match(r"\d{4}", line)]
        return [*rows, list(found.groups())]

    return ask


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_run_has_a_row_with_what_it_differs_in(forecast: Printed) -> None:
    *rows, total = forecast("-m", "method=dense,one_shot", "seed=0,1")
    assert [row[:3] for row in rows] == [
        ["0000", "dense", "0"],
        ["0001", "dense", "1"],
        ["0002", "one_shot", "0"],
        ["0003", "one_shot", "1"],
    ]
    # dense: initial weights, start, fit, ticket; one-shot goes on with start, fit, ticket
    assert [row[3:] for row in rows] == [["4", "0", "0", "4", "1"]] * 2 + [
        ["7", "0", "4", "3", "1"]
    ] * 2
    assert total == ["4", "22", "0", "8", "14", "4"]


def test_nothing_is_stored_and_no_data_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSEKIT_STORE", raising=False)
    for given in (["+experiment=imp_cifar10", "runtime.accelerator=gpu"], ["data=image_folder"]):
        assert run.main(["--dry-run", f"runtime.data={tmp_path / 'nowhere'}", *given]) == 0
    assert "3 runs, 156 stages: 0 done, 0 shared, 156 to compute (51 fits)" in (
        capsys.readouterr().out
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_counted_and_left_alone(
    forecast: Printed, tiny: Callable[..., PreparedRun], tmp_path: Path
) -> None:
    sweep = ("-m", "method=dense,one_shot", "seed=0,1")
    job = tiny("method=dense", "seed=0")
    run_prepared(job, "test")
    (ticket,) = job.store.keys("ticket")
    (job.store.path(ticket) / "metrics.json").write_text("damaged")
    before = files(tmp_path)
    *rows, total = forecast(*sweep)
    assert [row[-4:] for row in rows] == [
        ["4", "0", "0", "0"],
        ["0", "0", "4", "1"],
        ["4", "0", "3", "1"],
        ["0", "4", "3", "1"],
    ]
    assert total == ["4", "22", "8", "4", "10", "3"]
    assert files(tmp_path) == before


def test_as_many_stages_are_computed_as_it_says(forecast: Printed, tmp_path: Path) -> None:
    sweep = ("-m", "method=imp,soup,snip", "method.cycles=1", "seed=0,1")
    *_, total = forecast(*sweep)
    store = f"runtime.store={tmp_path / 'runs'}"
    assert run.main([*TINY, store, *sweep]) == 0
    stages = [path for path in (tmp_path / "runs" / "stages").glob("*/*") if path.is_dir()]
    fits = [path for path in stages if path.name.startswith("fit-")]
    assert total[-2:] == [str(len(stages)), str(len(fits))]
    *_, total = forecast(*sweep)
    assert total[2:] == [total[1], "0", "0", "0"]


def test_a_run_that_cannot_be_planned_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    rprop = "train.optimizer={_target_:torch.optim.Rprop}"
    varied = "method.variations=[{weight_decay:0.1}]"
    given = ["--dry-run", "-m", *TINY, "method=one_shot", "seed=0,1", rprop, varied]
    assert run.main(given) == 2
    err = capsys.readouterr().err
    assert f"method=one_shot seed=0 {rprop} {varied}: variations vary weight_decay" in err
    assert "Traceback" not in err
