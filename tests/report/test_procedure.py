"""What a whole procedure cost, over all fits that a ticket was made from."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sparsekit.report.collect import collect
from sparsekit.report.records import plain_rows
from sparsekit.report.tables import terminal
from sparsekit.store.identity import Stage
from sparsekit.system.files import write_json
from tests.report.writer import Writer

FULL = 300.0


def stage(
    writer: Writer, kind: str, name: str, inputs: tuple[str, ...], cost: Mapping[str, float]
) -> str:
    made = Stage(kind, {"name": name}, inputs)
    return writer.store.ensure(made, lambda folder: write_json(folder / "cost.json", cost))


def fit(writer: Writer, name: str, flops: float | None, *inputs: str, full: float = FULL) -> str:
    told = {} if flops is None else {"training_flops": flops, "training_flops_full": full}
    return stage(writer, "fit", name, inputs, {"seconds": 2.0, **told})


def ticket(writer: Writer, name: str, *inputs: str) -> str:
    known = writer.store.read(writer.ticket(f"{name}-like", 0.9, 0.8), "metrics.json")
    made = Stage("ticket", {"name": name}, inputs)
    return writer.store.ensure(made, lambda folder: write_json(folder / "metrics.json", known))


def test_every_fit_of_the_ancestry_counts_once(writer: Writer) -> None:
    """Two particles share the dense start, and a probe that both were pruned by."""
    source = fit(writer, "source", 7.0, full=99.0)
    dense = fit(writer, "dense", FULL, source)
    start = ticket(writer, "start", dense)
    probe = stage(writer, "pruned", "probe", (start, dense), {"seconds": 0.0, "training_flops": 3})
    particles = [fit(writer, name, 60.0, probe) for name in ("one", "two")]
    merged = ticket(writer, "merged", *particles)
    writer.record("swamp", 0, [(0.0, start), (0.8, merged)])
    first, last = plain_rows([writer.store.root])
    assert (first["training_flops"], last["training_flops"]) == (307, 307 + 3 + 2 * 60)
    assert last["training_flops_relative"] == pytest.approx(430 / FULL)
    assert (first["total_seconds"], last["total_seconds"]) == (4, 8)
    assert last["seconds"] == 4
    lines = terminal(collect([writer.store.root])).splitlines()
    at = lines[0].index("training")
    shown = [line[at:].split()[0] for line in lines if line.startswith("swamp")]
    assert [lines[1][at:].startswith("FLOPs (x"), *shown] == [True, "1.02", "1.43"]


def test_cells_are_empty_where_a_fit_does_not_tell(writer: Writer) -> None:
    old = fit(writer, "old", None)
    new = fit(writer, "new", 60.0, old)
    writer.record("imp", 0, [(0.8, ticket(writer, "mixed", new))])
    writer.record("set", 0, [(0.8, ticket(writer, "known", fit(writer, "alone", 60.0)))])
    mixed, known = plain_rows([writer.store.root])
    assert "training_flops" not in mixed
    assert mixed["total_seconds"] == 4
    assert known["training_flops_relative"] == pytest.approx(0.2)


def test_a_part_of_the_ancestry_that_is_gone_leaves_the_result(writer: Writer) -> None:
    gone = f"fit-{'0' * 20}"
    writer.record("imp", 0, [(0.8, ticket(writer, "left", fit(writer, "new", 60.0, gone)))])
    (row,) = plain_rows([writer.store.root])
    assert row["test_accuracy"] == 0.9
    assert not {"training_flops", "total_seconds"} & {*row}
