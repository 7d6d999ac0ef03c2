"""A store to write into."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.writer import Writer


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "runs")
