"""What a fit writes of each update of its masks."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sparsekit.training.mask_history import MaskHistory
from sparsekit.training.mask_updates import write_mask_history
from sparsekit.training.masking import Masking

ROWS = ([[1, 1], [1, 0], [0, 0]], [[1, 1], [0, 0], [0, 1]], [[1, 0], [0, 0], [0, 1]])
FIRST, SECOND, THIRD = ({"a": torch.tensor(rows).bool()} for rows in ROWS)


def test_every_update_says_what_it_dropped_and_grew(tmp_path: Path) -> None:
    masking = Masking(FIRST)
    for masks in (FIRST, SECOND, SECOND, THIRD):
        masking.mask_history.note(masks)
        masking.mask_history.count_step()
    write_mask_history(tmp_path, masking, num_snapshots=2)
    assert json.loads((tmp_path / "updates.json").read_text()) == {
        "steps": [1, 3],
        "kept": [3, 2],
        "dropped": [1, 1],
        "grown": [1, 0],
        "neurons": {"a": {"dead": 1, "ablated": 1, "revived": 1}},
    }
    assert json.loads((tmp_path / "topology.json").read_text())["num_snapshots"] == 2


def test_masks_that_stay_have_no_updates(tmp_path: Path) -> None:
    masking = Masking(FIRST)
    masking.mask_history.note({"a": FIRST["a"].clone()})
    write_mask_history(tmp_path, masking, num_snapshots=1)
    assert [path.name for path in tmp_path.iterdir()] == ["topology.json"]


def test_to_go_on_from_a_checkpoint_is_no_update() -> None:
    history = MaskHistory(FIRST)
    history.count_step()
    history.note(SECOND)
    later = MaskHistory(FIRST)
    later.load_state_dict(history.state_dict())
    later.note(SECOND)
    later.count_step()
    later.note(THIRD)
    assert later.updates == [(1, 3, 1, 1), (2, 2, 1, 0)]
    assert later.first is FIRST
