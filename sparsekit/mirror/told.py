"""What wandb was told already: read from the files that it keeps of each attempt at a run."""

from __future__ import annotations

import dataclasses
import glob
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsekit.mirror.names import FOLDER
from sparsekit.system.files import read_bytes

HEADER, MAGIC = 7, b":W&B"
BLOCK, PREFIX = 32768, 7
WHOLE, LAST = 1, 4
MOST_BYTES = 1 << 30
ROW = "row"
"""The column of a history that names its row, so that none is told twice."""


@dataclasses.dataclass
class Told:
    """The names of the rows that were told, the step of wandb to go on at, and whether the last
    attempt that told anything said that the run is done."""

    rows: set[str] = dataclasses.field(default_factory=set)
    next_step: int = 0
    is_finished: bool = False


def attempts(root: Path, identity: str) -> list[Path]:
    """Return the folders of wandb below a store's, one for each attempt at a run, in order."""
    pattern = f"*run-[0-9]*-{glob.escape(identity)}"
    found = [path for path in (root / FOLDER).glob(pattern) if path.is_dir()]
    return sorted(found, key=lambda path: path.name.removeprefix("offline-"))


def read_told(root: Path, identity: str) -> Told:
    """Read what earlier attempts at a run have told; what is cut short counts up to there."""
    told = Told()
    for folder in attempts(root, identity):
        told.is_finished = False
        for record in records(folder / f"run-{identity}.wandb"):
            if record.WhichOneof("record_type") == "history":
                _note(told, {(i.key or i.nested_key[0]): i.value_json for i in record.history.item})
            elif record.WhichOneof("record_type") == "exit":
                told.is_finished = record.exit.exit_code == 0
    return told


def _note(told: Told, items: dict[str, str]) -> None:
    if ROW in items:
        told.rows.add(json.loads(items[ROW]))
    told.next_step = max(told.next_step, 1 + int(items.get("_step", -1)))


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a .wandb file; none where it is not there or is no such file."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    try:
        content = read_bytes(file, most=MOST_BYTES)
        for payload in _payloads(content):
            yield messages.Record.FromString(payload)
    except (OSError, ValueError, DecodeError):
        return


def _payloads(content: bytes) -> Iterator[bytes]:
    """Take records out of LevelDB's log format: pieces in blocks, each with checksum and size."""
    position, pending = HEADER, b""
    if not content.startswith(MAGIC):
        return
    while position + PREFIX <= len(content):
        if BLOCK - position % BLOCK < PREFIX:
            position += BLOCK - position % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        pending += content[position + PREFIX : position + PREFIX + size]
        position += PREFIX + size
        if kind in (WHOLE, LAST):
            yield pending
            pending = b""
