"""Imports without the collector; afterwards it is as it was."""

from __future__ import annotations

import gc

from sparsekit.system.importing import uncollected


def test_nothing_is_collected_meanwhile() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_collects_nothing_goes_on_so() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
