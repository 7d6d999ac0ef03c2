"""What wandb's offline files say, read apart from the package."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsekit.mirror.rows import Row
from sparsekit.store.store import Store

wandb_internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")


def payloads(file: Path) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log format, blocks of 32 KiB, after 7 bytes of header."""
    content, position, pending = file.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        pending += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):
            yield pending
            pending = b""


class Mirrored:
    """What one offline run of wandb has been told."""

    def __init__(self, file: Path) -> None:
        self.rows: list[Row] = []
        self.summary: dict[str, Any] = {}
        self.axes: dict[str, str] = {}
        self.files: set[str] = set()
        self.config: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.is_preempted = False
        for payload in payloads(file):
            record = wandb_internal.Record.FromString(payload)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= {c.key: json.loads(c.value_json) for c in record.run.config.update}
            elif kind == "history":
                items = {(i.key or i.nested_key[0]): i.value_json for i in record.history.item}
                told = {name: json.loads(text) for name, text in items.items()}
                self.rows.append({k: v for k, v in told.items() if not k.startswith("_")})
            elif kind == "summary":
                found = {(u.key or u.nested_key[0]): u.value_json for u in record.summary.update}
                self.summary |= {name: json.loads(text) for name, text in found.items()}
            elif kind == "metric" and record.metric.glob_name:
                self.axes[record.metric.glob_name] = record.metric.step_metric
            elif kind == "files":
                self.files |= {one.path for one in record.files.files}
            elif kind == "preempting":
                self.is_preempted = True
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def mirrored(store: Store) -> list[Mirrored]:
    files = sorted((store.root / "wandb").glob("offline-run-*/*.wandb"))
    return [Mirrored(file) for file in files]


def rows_of_fits(store: Store, *keys: str) -> list[Row]:
    """The histories of fits, as one run after another tells them."""
    return [row for key in keys for row in store.read(key, "history.json")]


def fits_told(told: Mirrored) -> list[Row]:
    """The epochs that a run of wandb has of all its fits, with the names of their histories."""
    own = [
        {**row, "fit/step": row["step"], "fit/epoch": row["epoch"]}
        for row in told.rows
        if "fit" in row
    ]
    chosen = [{k: v for k, v in row.items() if k.startswith("fit/")} for row in own]
    return [{name.removeprefix("fit/"): value for name, value in row.items()} for row in chosen]
