"""What is read of stores, that it is verified, and how often it is read."""

from __future__ import annotations

import collections
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect, last_of, read_records, results_of
from sparsekit.report.rows import rows_of
from sparsekit.store.identity import canonical, stage_key
from sparsekit.system.files import spelled
from tests.report.writer import Writer, three_seeds


def test_an_anchor_is_no_result(writer: Writer) -> None:
    anchor, ticket = writer.ticket("anchor", 0.3, 0.0), writer.ticket("imp", 0.9, 0.8)
    writer.record("imp", 0, [(0.8, ticket)], anchor=anchor)
    assert [result.ticket for result in collect([writer.store.root])] == [ticket]


def test_what_began_sparse_is_in_the_row_of_its_source(writer: Writer) -> None:
    source = {"source": {"_target_": "sparsekit.training.problem.stored", "key": "ticket-1"}}
    sparse, dense = writer.ticket("sparse", 0.8, 0.950004), writer.ticket("dense", 0.9, 0.0)
    writer.record("finetuned", 0, [(0.0, sparse)], config=source)
    writer.record("transferred", 0, [(0.0, dense)], config=source)
    writer.record("learned", 0, [(0.0, sparse)])
    found = {result.method: result.sparsity for result in collect([writer.store.root])}
    assert found == {"finetuned": 0.95, "transferred": 0.0, "learned": 0.0}


def test_a_path_is_a_store_a_folder_or_a_record(writer: Writer, tmp_path: Path) -> None:
    first = writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))], experiment="one")
    writer.record("imp", 0, [(0.8, writer.ticket("b", 0.8, 0.8))], experiment="two")
    root = writer.store.root
    assert len(collect([root])) == 2
    assert len(collect([root / "named"])) == 2
    assert len(collect([root / "named" / "one"])) == 1
    assert len(collect([first])) == 1
    assert len(collect([first, root / "named" / "two"])) == 2
    other = Writer(tmp_path / "other")
    other.record("imp", 1, [(0.8, other.ticket("c", 0.7, 0.8))], experiment="one")
    (row,) = rows_of(collect([first, other.store.root]))
    assert [result.seed for result in row.results] == [0, 1]


def test_mistakes_are_one_message(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    stray = tmp_path / "stray.json"
    stray.write_text("{}")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    gone = f"ticket-{'0' * 20}"
    lost = writer.record("lost", 0, [(0.8, gone)], variant="lost")
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "nowhere", "nowhere: no results here; give a store"),
        (tmp_path / "empty", "empty: no results here"),
        (stray, "stray.json is not a record of a run: it has no 'rows'"),
        (broken, "broken.json cannot be read: Expecting property name"),
        (writer.store.root / "stages", "stages: no results here"),
        (lost, f"{gone} is not in the store"),
    ]:
        assert report.main([str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": "x"}, "rows: expected a list, got 'x'"),
        ({"rows": ["x"]}, "rows[0]: expected a mapping, got 'x'"),
        ({"rows": [{"cycle": 0, "sparsity": 0.5, "is_result": True}]}, "rows[0] has no 'ticket'"),
        ({"status": 7}, "status: expected a text, got 7"),
        ({"choices": {}}, "choices has no 'method'"),
        ({"seed": None}, "seed: expected a whole number of at least 0, got None"),
    ],
)
def test_a_record_of_another_shape_is_one_message(
    writer: Writer, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    path = writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert report.main([str(path)]) == 2
    assert capsys.readouterr().err == f"error: {path} is not a record of a run: {message}\n"


def test_nesting_without_end_is_one_message(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = writer.ticket("a", 0.9, 0.8)
    path = writer.record("imp", 0, [(0.8, ticket)])
    deep = "[" * 200_000 + "]" * 200_000
    (writer.store.path(ticket) / "description.json").write_text(deep)
    assert report.main([str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{ticket}: description.json is damaged: nested more than 100 deep" in said
    path.write_text(deep)
    assert report.main([str(path)]) == 2
    assert f"{path} cannot be read: nested more than 100 deep" in capsys.readouterr().err


def test_a_pipe_in_a_store_keeps_nobody_waiting(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = writer.ticket("a", 0.9, 0.8)
    path = writer.record("imp", 0, [(0.8, ticket)])
    for file, message in (
        (writer.store.path(ticket) / "metrics.json", "metrics.json is a pipe, not a regular file"),
        (path, f"{path} is a pipe, not a regular file"),
    ):
        file.unlink()
        os.mkfifo(file)
        assert report.main([str(writer.store.root)]) == 2
        assert message in capsys.readouterr().err


def test_what_others_wrote_commands_no_terminal(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = writer.ticket("a", 0.9, 0.8, more={"warnings": ["\x1b[31mred"]})
    writer.record("imp\x1b]0;title\x07", 0, [(0.8, ticket)])
    assert report.main([str(writer.store.root)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "?[31mred" in out


def test_damaged_numbers_are_not_shown(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = writer.ticket("a", 0.9, 0.8)
    path = writer.record("imp", 0, [(0.8, ticket)])
    metrics = writer.store.path(ticket) / "metrics.json"
    metrics.write_text(metrics.read_text().replace("0.9", "0.99"))
    assert report.main([str(path)]) == 2
    assert f"{ticket}: checksum mismatch in metrics.json" in capsys.readouterr().err


def test_studies_are_read_if_they_are_asked_for(writer: Writer) -> None:
    content = {
        "particles": {
            **dict.fromkeys(("mean", "merged", "gap_to_mean", "gap_to_best", "ensemble")),
            "best": 0,
            "particles": [{}],
            "geometry": {"distances": [[0]], "angles": [[0]], "to_barycentre": [0]},
        },
        "barriers": {"pairs": []},
        "other": {"anything": "goes"},
    }
    keys = {name: writer.study(name, study) for name, study in content.items()}
    dense, ticket = writer.ticket("d", 0.9, 0.0), writer.ticket("a", 0.9, 0.8)
    path = writer.record("soup", 0, [(0.0, dense), (0.8, ticket)], studies=keys)
    assert [result.studies for result in collect([path])] == [{}, {}]
    without, of_last = collect([path], studies=("particles", "barriers"))
    assert without.studies == {}
    assert of_last.studies == {name: content[name] for name in ("particles", "barriers")}


def test_damage_matters_only_where_it_would_be_shown(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    study = writer.study("particles", {"best": 0})
    path = writer.record("soup", 0, [(0.8, writer.ticket("a", 0.9, 0.8))],
                         studies={"particles": study})  # fmt: skip
    file = writer.store.path(study) / "study.json"
    file.write_text(file.read_text().replace("0", "1"))
    assert report.main([str(path)]) == 0
    assert report.main([str(path), "--particles"]) == 2
    assert f"{study}: checksum mismatch in study.json" in capsys.readouterr().err


def test_a_missing_file_is_a_message(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = writer.ticket("a", 0.9, 0.8)
    path = writer.record("imp", 0, [(0.8, ticket)])
    (writer.store.path(ticket) / "metrics.json").unlink()
    assert report.main([str(path)]) == 2
    assert f"{ticket}: metrics.json is missing" in capsys.readouterr().err


def test_every_file_is_read_once(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    shared = writer.ticket("dense0", 0.90, 0.0)
    writer.record("rigl", 0, [(0.0, shared), (0.8, writer.ticket("rigl", 0.8, 0.8))])
    opened: collections.Counter[str] = collections.Counter()
    original = os.open

    def counting(file: Any, *arguments: Any, **named: Any) -> Any:
        opened[str(file)] += 1
        return original(file, *arguments, **named)

    monkeypatch.setattr(os, "open", counting)
    assert report.main([str(writer.store.root)]) == 0
    reads = {Path(name): n for name, n in opened.items() if str(writer.store.root) in name}
    assert len(reads) == 4 + 7 * 4  # records; description and file of ticket and fit
    assert set(reads.values()) == {1}


def test_stores_are_read_that_were_sealed_with_what_is_none(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Addresses once had every setting in them, also those that nobody used."""
    description = {"kind": "ticket", "config": {"a": 1, "mover": None}, "inputs": [], "version": 1}
    key = stage_key(description, with_none=True)
    assert key != stage_key(description)
    copied = writer.store.path(writer.ticket("a", 0.9, 0.8))
    folder = copied.with_name(key)
    folder.mkdir()
    (folder / "metrics.json").write_bytes((copied / "metrics.json").read_bytes())
    body = {**json.loads((copied / "description.json").read_text()), **description}
    del body["checksum"]
    body["checksum"] = hashlib.sha256(canonical(body, with_none=True).encode()).hexdigest()
    (folder / "description.json").write_text(spelled(body))
    path = writer.record("imp", 0, [(0.8, key)])
    assert report.main([str(path)]) == 0
    assert "90.00" in capsys.readouterr().out
    (folder / "description.json").write_text(spelled({**body, "version": 2}))
    assert report.main([str(path)]) == 2
    assert f"{key}: checksum mismatch in description.json" in capsys.readouterr().err


def test_a_record_that_is_named_twice_is_one(writer: Writer) -> None:
    path = writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))], status="running")
    assert len(read_records([writer.store.root, path, writer.store.root / "named"])) == 1


def test_last_shows_what_every_run_ends_at(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    records = read_records([writer.store.root])
    assert [result.sparsity for result in results_of(last_of(records))] == [0.8] * 3
    assert report.main([str(writer.store.root), "--last"]) == 0
    shown = capsys.readouterr().out
    assert "80.00" in shown
    assert report.main([str(writer.store.root)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(shown.splitlines()) + 1
