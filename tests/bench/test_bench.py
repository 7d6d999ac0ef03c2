"""The command on a small stored network: rows, verdicts, refusals, a file and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from sparsekit.bench import ways
from sparsekit.bench.__main__ import main
from sparsekit.bench.comparing import Compared
from sparsekit.bench.stock import CsrConv2d, with_stock_csr
from sparsekit.bench.subjects import stored_subject
from sparsekit.bench.work import work_of
from sparsekit.bench.writing import verdict
from sparsekit.data.batches import call
from sparsekit.measuring.limits import Limit


def refused(*_: Any) -> NoReturn:
    raise ways.Unavailable("no compiler")


def test_ways_are_measured_and_written(
    mlp_ticket: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(ways.BASELINES, "compiled", refused)
    page, figure = tmp_path / "speed.md", tmp_path / "speed.svg"
    settings = ["batch_sizes=9", "rounds=2", "against=eager,compiled,csr", "dtype=bfloat16"]

    status = main([str(mlp_ticket), *settings, f"out={page}", f"figure={figure}"])

    text, printed = page.read_text(), capsys.readouterr().out
    assert status == 0
    for way in ("eager", "csr", ways.OURS):
        assert f"| 9     | {way} " in text
    for line in (
        "Batch 9: no compiled, no compiler",
        "Batch 9: layers are ",
        "the time of sparse goes to",
        "1 thread, CPU time of the thread",
        "kernels: ",
        "torch ",
    ):
        assert line in text
        assert line in printed
    assert "batch_sizes=9 dtype=bfloat16 against=eager,compiled,csr rounds=2`" in text
    assert "batch 9" in figure.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing-here"], "'nothing-here' is not in the store"),
        (["TICKET", "batch_sizes=0"], "batch_sizes=0: expected whole numbers from 1 on"),
        (["TICKET", "cycle=1"], "only records have cycles"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    mlp_ticket: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPARSEKIT_STORE", str(mlp_ticket.parents[2]))

    status = main([str(mlp_ticket) if one == "TICKET" else one for one in arguments])

    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_stock_csr_computes_the_same(cnn_ticket: Path) -> None:
    _, at = stored_subject(cnn_ticket, store=None, cycle=None, dtype=torch.float32, threads=1)
    subject = at(3)
    network = with_stock_csr(ways.converted(subject, "sparse").graph)

    assert any(isinstance(layer, CsrConv2d) for layer in network.layers)
    with torch.inference_mode():
        expected = call(subject.dense, subject.inputs)
        torch.testing.assert_close(network(subject.inputs), expected, rtol=1e-4, atol=1e-4)


def test_work_counts_kept_weights_and_their_indices(mlp_ticket: Path) -> None:
    _, at = stored_subject(mlp_ticket, store=None, cycle=None, dtype=torch.bfloat16, threads=1)
    subject = at(2)
    weights = {n: p for n, p in subject.model.named_parameters() if n in subject.masks}
    rest = sum(p.numel() for n, p in subject.model.named_parameters() if n not in weights)
    kept = sum(int(mask.sum()) for mask in subject.masks.values())
    rows = sum(len(weight) for weight in weights.values())
    passed = 4 * 2 * (64 + 10)

    work = work_of(subject)

    assert work[ways.OURS].num_bytes == passed + 4 * rest + (2 + 2) * kept + 4 * rows
    assert work["csr"].num_bytes == passed + 4 * rest + (4 + 4) * kept + 4 * rows
    assert work[ways.OURS].multiply_adds == 2 * kept
    assert work["dense"].multiply_adds == 2 * sum(
        p.numel() for p in subject.dense.parameters() if p.ndim == 2
    )


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([1.0, 1.0, 1.0], "sparse is 2.00 times as fast as compiled, the best dense."),
        ([4.0, 4.0, 4.0], "SPARSE LOSES, sparse is 0.50 times as fast as compiled"),
        ([1.0, 2.0, 4.0], "sparse is 1.00 times as fast as compiled, the best dense: not told"),
    ],
)
def test_who_wins(ours: list[float], expected: str) -> None:
    times = {"eager": [3.0] * 3, "compiled": [2.0] * 3, "csr": [0.1] * 3, ways.OURS: ours}
    conversion: Any = None
    found = Compared(4, times, {ways.OURS: Limit(1.0, "memory")}, {}, conversion, {})

    assert expected in verdict(found)
    assert "nothing is won" in verdict(Compared(4, {ways.OURS: ours}, {}, {}, conversion, {}))
