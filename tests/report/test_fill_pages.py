"""Tables in pages come from the command that stands above them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.fill_pages import main
from tests.report.writer import Writer

PAGE = """\
# Title

<!-- filled by: python -m sparsekit.report runs --format markdown -->
what was here before
<!-- end -->

Below.
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    return path


def test_what_is_between_becomes_the_table_and_all_else_stays(page: Path, writer: Writer) -> None:
    writer.record("random", 0, [(0.9, writer.ticket("pruned", 0.5, 0.9))])
    assert main([str(page), "--store", str(writer.store.root)]) == 0
    text = page.read_text()
    head, table = text.split("-->\n", 1)
    assert head + "-->\n" == PAGE.partition("what was")[0]
    assert table.startswith("| method")
    assert "50.00" in table
    assert text.endswith("<!-- end -->\n\nBelow.\n")
    assert "what was here" not in text
    assert main([str(page), "--store", str(writer.store.root)]) == 0
    assert page.read_text() == text


def test_a_page_names_no_folder_of_this_machine(page: Path, writer: Writer) -> None:
    """A report says where what it leaves out lies."""
    writer.record("random", 0, [(0.9, writer.ticket("pruned", 0.5, 0.9))])
    writer.record("random", 1, [(0.9, writer.ticket("other", 0.5, 0.9))], status="running")
    page.write_text(PAGE.replace("runs --format", "runs --claims --format"))
    assert main([str(page), "--store", str(writer.store.root)]) == 0
    text = page.read_text()
    assert "runs/named" in text
    assert str(writer.store.root) not in text


def test_a_store_that_is_this_folder_is_no_full_stop(
    page: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.record("random", 0, [(0.9, writer.ticket("pruned", 0.5, 0.9))])
    assert main([str(page), "--store", str(writer.store.root)]) == 0
    text = page.read_text()
    monkeypatch.chdir(writer.store.root)
    assert main([str(page), "--store", "."]) == 0
    assert page.read_text() == text
    assert "50.00" in text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python -m sparsekit.report nowhere", "nowhere"),
        ("rm -rf runs", "only python -m sparsekit.report is run"),
    ],
)
def test_a_command_that_fails_leaves_the_page_as_it_was(
    page: Path, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    before = PAGE.replace("python -m sparsekit.report runs --format markdown", command)
    page.write_text(before)
    assert main([str(page)]) == 2
    assert said in capsys.readouterr().err
    assert page.read_text() == before


def test_a_page_without_commands_is_named(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page.write_text("nothing to fill")
    assert main([str(page)]) == 2
    assert "filled by" in capsys.readouterr().err
