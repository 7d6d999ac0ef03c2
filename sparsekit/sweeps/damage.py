"""Which files of a sweep are not what was written there. They count as missing, and are named."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sparsekit.store.aside import put_aside_damaged
from sparsekit.store.named import read_record
from sparsekit.sweeps import schemas
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.system.files import Damaged

Read = Callable[[Path], Any]
OF_A_MEMBER = ("members", "progress")


def damage_of(sweep: Sweep) -> list[str]:
    """Say of every file of a sweep that is damaged, and of its runs' records, what is wrong."""
    files = [(part, name) for part in schemas.PARTS for name in sweep.names(part)]
    records = [sweep.record_file(number) for number in range(len(sweep.runs))]
    return [*_told((file, read_record) for file in records), *_told(_parts(sweep, files))]


def damage_of_run(sweep: Sweep, number: int) -> list[str]:
    """Say what is wrong with the record of a run, and with what its job last recorded."""
    files = [(part, f"{member_of(number)}.json") for part in OF_A_MEMBER]
    return [*_told([(sweep.record_file(number), read_record)]), *_told(_parts(sweep, files))]


def put_aside_damage(sweep: Sweep, member: str) -> None:
    """Move what is damaged of the files of a member out of the way of its next attempt."""
    for file, read in _parts(sweep, [(part, f"{member}.json") for part in OF_A_MEMBER]):
        put_aside_damaged(sweep.root, file, read)


def _parts(sweep: Sweep, files: Any) -> Iterator[tuple[Path, Read]]:
    for part, name in files:
        yield sweep.folder / part / name, functools.partial(sweep.read_part, part)


def _told(files: Any) -> Iterator[str]:
    for file, read in files:
        try:
            read(file)
        except FileNotFoundError:
            continue
        except (Damaged, OSError) as error:
            yield str(error)
