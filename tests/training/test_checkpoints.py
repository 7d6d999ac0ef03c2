"""A checkpoint is whole or the one before, and an interrupt stays an interrupt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparsekit.training.checkpoint_files import LAST, read_checkpoint, write_checkpoint


def interrupted_save(content: Any, file: Any) -> None:
    """As torch.save does when an interrupt arrives while it writes a tensor."""
    try:
        file.write(b"half")
        raise KeyboardInterrupt
    finally:
        raise RuntimeError("unexpected pos 2432 vs 2326")


def full_disk(content: Any, file: Any) -> None:
    raise RuntimeError("no space left")


@pytest.mark.parametrize(
    ("save", "leaves"), [(interrupted_save, KeyboardInterrupt), (full_disk, RuntimeError)]
)
def test_what_breaks_a_save_is_what_leaves_it_and_the_last_one_stays(
    save: Any, leaves: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / LAST, {"step": 3, "weight": torch.ones(2)})
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(leaves):
        write_checkpoint(tmp_path / LAST, {"step": 4})
    saved = read_checkpoint(tmp_path)
    assert saved is not None
    assert saved["step"] == 3
