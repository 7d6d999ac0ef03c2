"""What a person has at hand of a result (key, folder, record, row) -> its store and its key."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.store.identity import KEY
from sparsekit.store.named import read_record
from sparsekit.store.store import Store
from sparsekit.system.files import refuse_links

VARIABLE = "SPARSEKIT_STORE"
DEFAULT = "runs"
STAGES = "stages"
Reference = str | Path | Mapping[str, Any]


def default_store() -> Path:
    """Return the store that runs use unless they are told another."""
    return Path(os.environ.get(VARIABLE) or DEFAULT)


def locate(
    reference: Reference, *, store: str | Path | None = None, cycle: int | None = None
) -> tuple[Store, str]:
    """Return the store of a published stage and its key.

    `reference`: a key, looked up in `store`, else in the default one; the folder of a stage; a
    record below named/, of which the result of `cycle` is meant, else the last one; or a row of
    `sparsekit.results`, whose store is `store` if that was moved. ValueError for what names none,
    LookupError for a key that the store does not have, FileNotFoundError for missing paths.
    """
    if isinstance(reference, str | Path):
        path = Path(reference).expanduser()
        if path.exists() or _is_path(str(reference)):
            _refuse(reference, store=store)
            return _at_path(path, cycle)
    _refuse(reference, cycle=cycle)
    if isinstance(reference, str):
        return _in_store(Path(store or default_store()), reference)
    row = _row(reference)
    return _in_store(Path(store or row["store"]), row["ticket"])


def _is_path(text: str) -> bool:
    return os.sep in text or text.endswith(".json")


def _refuse(reference: Any, **given: Any) -> None:
    """Refuse settings that would be ignored."""
    for name, value in given.items():
        if value is not None:
            what = "a path lies in its store" if name == "store" else "only records have cycles"
            raise ValueError(f"{name}={value!r} means nothing for {reference!r}: {what}")


def _row(reference: Any) -> dict[str, Any]:
    try:
        row: dict[str, Any] = dict(reference)  # rows of a pandas.DataFrame as well
        return {name: row[name] for name in ("store", "ticket")}
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"expected a key, a path or a row of sparsekit.results(), got {str(reference)[:60]!r}"
        ) from error


def _in_store(root: Path, key: str) -> tuple[Store, str]:
    root = root.expanduser().absolute()
    if not (root / STAGES).is_dir():
        what = f"it has no {STAGES}/" if root.is_dir() else "it is not there"
        raise FileNotFoundError(f"{root} is not a store: {what}; set store= or {VARIABLE}")
    store = Store(root)
    if KEY.fullmatch(key):
        refuse_links(root, store.path(key).parent)
    if not KEY.fullmatch(key) or not store.path(key).is_dir():
        raise LookupError(f"{key!r} is not in the store {root}{_nearest(key, root)}")
    return store, key


def _nearest(key: str, root: Path) -> str:
    known = [path.name for path in sorted((root / STAGES).glob("*/*")) if KEY.fullmatch(path.name)]
    near = [other for other in known if key and other.startswith(key)]
    near = near[:3] or difflib.get_close_matches(key, known, n=3)
    tickets = [other for other in known if other.startswith("ticket-")]
    return f"; nearest: {', '.join(near)}" if near else f"; it holds {len(tickets)} tickets"


def _at_path(path: Path, cycle: int | None) -> tuple[Store, str]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix == ".json" and path.is_file():
        return _recorded(path, cycle)
    _refuse(path, cycle=cycle)
    # A link to a stage is as good as its folder, and so is a folder below links.
    for folder in (path.absolute(), path.resolve()):
        if KEY.fullmatch(folder.name) and len(folder.parents) > 2:
            root = folder.parents[2]
            if Store(root).path(folder.name) == folder:
                refuse_links(root, folder.parent)
                return Store(root), folder.name
    raise ValueError(
        f"{path} is neither the folder of a stage (STORE/{STAGES}/KIND/KEY) nor a record of a run "
        f"(STORE/named/EXPERIMENT/RUN.json)"
    )


def _recorded(file: Path, cycle: int | None) -> tuple[Store, str]:
    root = next((one for one in file.resolve().parents if (one / STAGES).is_dir()), None)
    if root is None:
        raise FileNotFoundError(f"{file} lies in no store: no folder above it has {STAGES}/")
    record = read_record(file.resolve())
    rows = [(row["cycle"], row["ticket"], row["is_result"]) for row in record["rows"]]
    return _in_store(root, _chosen(file, rows, cycle))


def _chosen(file: Path, rows: Sequence[tuple[int, str, bool]], cycle: int | None) -> str:
    wanted = [
        key for index, key, is_result in rows if (is_result if cycle is None else index == cycle)
    ]
    if not wanted:
        there = ", ".join(str(index) for index, _, _ in rows) or "none"
        asked = "no result" if cycle is None else f"no cycle {cycle}"
        raise ValueError(f"{file} has {asked}; its finished cycles: {there}")
    return wanted[-1]
