"""The file of a page: whole, safe whatever users wrote, and never the reason that a sweep fails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sparsekit.report.collect import read_records
from sparsekit.report.page.content import content_of
from sparsekit.report.page.places import page_of
from sparsekit.report.page.sweeps import sweep_facts, sweeps_of
from sparsekit.report.page.write import embedded, write_page
from tests.report.page.conftest import EVIL, SWEEP, TRACEBACK
from tests.report.writer import Writer, output


def test_one_file_without_addresses_of_others(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"""\b(?:src|href)=["'](?!#)""", text)
    (found,) = re.findall(r'id="content">(.*?)</script>', text, flags=re.DOTALL)
    assert json.loads(found)["title"] == EVIL
    assert [path.name for path in file.parent.iterdir()] == ["one.html"]


def test_numbers_that_are_none_are_unknown_on_the_page() -> None:
    assert embedded({"a": [float("nan"), float("inf")], "b": "&"}) == (
        '{"a": [null, null], "b": "\\u0026"}'
    )


def test_sweeps_are_those_that_asked_for_the_runs(store: Path, writer: Writer) -> None:
    (sweep,) = sweeps_of(read_records([store]))
    assert (sweep["name"], sweep["commit"], sweep["nodes"]) == (
        SWEEP,
        "0123456789abcdef",
        ["node17"],
    )
    assert [run["run"] for run in sweep["runs"]] == ["imp-seed0-imp"]  # of the records
    whole = sweep_facts(store, SWEEP)
    assert whole is not None
    assert [run["state"] for run in whole["runs"]] == ["done", "failed"]
    assert sweep_facts(store, "other") is None
    writer.record("imp", 0, [(0.8, writer.ticket("imp", 0.9, 0.8))])
    assert sweeps_of(read_records([writer.store.root])) == []


def test_failures_are_told_once_also_of_runs_without_a_record(store: Path) -> None:
    facts = sweep_facts(store, SWEEP)
    content = content_of(read_records([store]), sweeps=[] if facts is None else [facts])
    found = {one["run"]: (one["reason"], one["error"]) for one in content["failures"]}
    assert found == {"never-begun": ("no data", "lost"), "imp-seed7-imp": ("", TRACEBACK)}


def test_a_damaged_result_is_named_and_the_others_are_there(writer: Writer) -> None:
    keys = [writer.ticket(name, 0.9, 0.8) for name in ("good", "bad")]
    for seed, key in enumerate(keys):
        writer.record("imp", seed, [(0.8, key)])
    (writer.store.path(keys[1]) / "metrics.json").write_text("{}")
    content = content_of(read_records([writer.store.root]))
    assert [point["ticket"] for point in content["groups"][0]["points"]] == [keys[0]]
    (told,) = content["damaged"]
    assert keys[1] in told


def test_the_command_writes_a_page_of_what_it_is_given(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = writer.record("imp", 0, [(0.8, writer.ticket("imp", 0.9, 0.8))])
    output(capsys, record, "--html", tmp_path / "new" / "a.html")
    assert "<title>test</title>" in (tmp_path / "new" / "a.html").read_text(encoding="utf-8")


def test_a_page_replaces_a_link_and_not_what_it_leads_to(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("kept")
    page = page_of(tmp_path, "a")
    page.parent.mkdir()
    page.symlink_to(other)
    write_page(page, read_records([store]))
    assert other.read_text() == "kept"
    assert not page.is_symlink()
