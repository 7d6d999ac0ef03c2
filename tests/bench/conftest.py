"""Stored networks to be measured; machines are not measured thoroughly for them."""

from __future__ import annotations

import pytest

from sparsekit.measuring import limits
from tests.exports.conftest import cnn_ticket, mlp_ticket, store

__all__ = ["cnn_ticket", "mlp_ticket", "store"]


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PASS", 2**18), ("SIZE", 64), ("REPEATS", 1)):
        monkeypatch.setattr(limits, name, value)
