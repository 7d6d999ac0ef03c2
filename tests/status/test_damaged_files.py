"""Every small file that a store holds, damaged in every way, before every command that looks.

No command ends in a traceback or waits; the file is named, and what is not damaged is shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sparsekit
from sparsekit.report.__main__ import main as report
from sparsekit.status.__main__ import main as status
from sparsekit.store.identity import canonical
from sparsekit.system.files import spelled, write_json
from tests.status.sweeps import Asked

DEEP = "[" * 100_000 + "]" * 100_000
ESCAPES = "\x1b]0;owned\x07\x1b[31m\u202e\u009b2J\r\ud800"
LOOKS = ("status", "sweep", "json", "logs", "why", "gc", "report", "results")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: where one lies, and which commands read it and so must name it."""

    name: str
    file: Callable[[Asked], Path]
    named_by: tuple[str, ...]
    is_stage: bool = False

    def __str__(self) -> str:
        return self.name


def record(asked: Asked) -> Path:
    return asked.sweep.record_file(0)


def ticket(asked: Asked, name: str) -> Path:
    key = json.loads(record(asked).read_text())["rows"][-1]["ticket"]
    return asked.store / "stages" / "ticket" / key / name


def fit(asked: Asked, name: str) -> Path:
    description = json.loads(ticket(asked, "description.json").read_text())
    key = next(key for key in description["inputs"] if key.startswith("fit-"))
    return asked.store / "stages" / "fit" / key / name


def of_sweep(*parts: str) -> Callable[[Asked], Path]:
    return lambda asked: asked.sweep.folder.joinpath(*parts)


SWEEP = ("status", "sweep", "json", "gc", "why")
KINDS = (
    Kind("record", record, (*SWEEP, "logs", "report", "results")),
    Kind("sweep", of_sweep("sweep.json"), ("status", "sweep", "json", "logs", "gc", "why")),
    Kind("member", of_sweep("members", "0000.json"), (*SWEEP, "logs")),
    Kind("progress", of_sweep("progress", "0000.json"), (*SWEEP, "logs")),
    Kind("submission", of_sweep("submissions", "0123abcd.json"), SWEEP),
    Kind("reset", of_sweep("reset", "0000.json"), SWEEP),
    Kind("log", of_sweep("jobs", "0000.log"), ()),
    Kind("store", lambda asked: asked.store / "store.json", ()),
    Kind("description", lambda one: ticket(one, "description.json"),
         ("why", "gc", "report", "results"), is_stage=True),
    Kind("metrics", lambda one: ticket(one, "metrics.json"),
         ("why", "report", "results"), is_stage=True),
    Kind("cost", lambda one: fit(one, "cost.json"), ("report", "results"), is_stage=True),
    Kind("parts", lambda one: ticket(one, "parts.json"), ("why",), is_stage=True),
    Kind("network", lambda one: ticket(one, "network.json"), ("why",), is_stage=True),
)  # fmt: skip


def text(content: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(content)


def linked(target: str) -> Callable[[Path], object]:
    def damage(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return damage


def replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def sparse(file: Path) -> None:
    """A terabyte that takes no room."""
    with file.open("wb") as opened:
        opened.truncate(2**40)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": text(""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
    "deep": text(DEEP),
    "deep names": text('{"a":' * 50_000 + "1" + "}" * 50_000),
    "huge": sparse,
    "null": text("null"),
    "list": text("[1, 2]"),
    "not a number": text('{"seconds": NaN, "rows": Infinity, "time": 1e999}'),
    "twice": text('{"rows": [], "rows": [], "time": 1, "time": 2}'),
    "escapes": text(json.dumps(ESCAPES)),
    "pipe": replaced(os.mkfifo),
    "folder": replaced(Path.mkdir),
    "link": linked("/etc/hostname"),
    "dangling link": linked("nowhere"),
    "device": linked("/dev/zero"),
}


def sometimes_there(asked: Asked) -> None:
    """Files of which a sweep of this machine has none."""
    sweep = asked.sweep
    for part in ("submissions", "reset", "jobs"):
        (sweep.folder / part).mkdir(exist_ok=True)
    note = {"id": "0123abcd", "kind": "runs", "members": ["0000"], "job": None, "time": 1.0}
    write_json(sweep.folder / "submissions" / "0123abcd.json", note)
    write_json(sweep.folder / "reset" / "0000.json", 1.0)
    (sweep.folder / "jobs" / "0000.log").write_text("it works\n")


@pytest.fixture(scope="module")
def looked_at(
    finished_once: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Asked, dict[str, list[str]]]:
    """A finished sweep of four runs, of which one file at a time is damaged; commands to look."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(finished_once / "runs", folder / "runs")
    asked = Asked(folder, ("method=dense,one_shot", "seed=0,1"))
    sometimes_there(asked)
    store = ["--store", str(asked.store)]
    name = asked.sweep.name
    commands = {
        "status": store,
        "sweep": [name, *store],
        "json": [name, "--json", *store],
        "logs": ["logs", name, "0", *store],
        "why": ["why", ticket(asked, "metrics.json").parent.name, *store],
        "gc": ["gc", "--days", "0", *store],
    }
    return asked, commands


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a command printed; `is_refused` where it shows nothing else."""

    text: str
    is_refused: bool


def look(
    command: str, store: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> Seen:
    capsys.readouterr()
    if command == "results":
        return api(store)
    code = report([str(store)]) if command == "report" else status(arguments)
    printed = capsys.readouterr()
    assert code in (0, 1, 2)
    assert "Traceback" not in printed.out + printed.err
    assert code == 2 or printed.err == ""
    assert code != 2 or printed.err.count("\n") == 1, printed.err
    for said in (printed.out, printed.err):
        assert all(one.isprintable() or one in "\n\t" for one in said)
    return Seen(printed.out + printed.err, code == 2)


def api(store: Path) -> Seen:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        rows = sparsekit.results(store)
    return Seen("\n".join([*(str(one.message) for one in warned), *map(str, rows)]), False)


@contextlib.contextmanager
def damaged(file: Path, damage: Callable[[Path], object]) -> Iterator[None]:
    """Damage a file, and repair it afterwards."""
    content = file.read_bytes()
    try:
        damage(file)
        yield
    finally:
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        else:
            file.unlink()
        file.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named_and_the_rest_is_shown(
    kind: Kind,
    damage: Callable[[Path], object],
    looked_at: tuple[Asked, dict[str, list[str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked, commands = looked_at
    file = kind.file(asked)
    name = file.parent.name if kind.is_stage else file.name
    with damaged(file, damage):
        for command in LOOKS:
            seen = look(command, asked.store, commands.get(command, []), capsys)
            if command in kind.named_by:
                assert name in seen.text, command
            if kind.name != "sweep":
                assert not seen.is_refused, (command, seen.text)
            if command in ("status", "sweep", "json") and not seen.is_refused:
                assert "one_shot" in seen.text
            if command in ("report", "results"):
                assert {"report": "One-shot", "results": "one_shot"}[command] in seen.text


WRONG: tuple[Any, ...] = (
    None, True, -1, 10**100, 1e308, "", "../../x", ESCAPES, "ticket-" + "0" * 20, [], ["x"], {},
    {"x": ESCAPES},
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a value, of lists only in the first item; not what is inside of a
    configuration, which may be anything."""
    if path:
        yield path
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict) and "config" not in path:
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:1]))
    for name, below in items:
        yield from places(below, (*path, name))


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    """The value with another one at a place; without that place for `...`."""
    if not path:
        return to
    copy = value.copy()
    if to is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], to)
    return copy


def sealed_again(folder: Path, name: str) -> None:
    """Give a stage the checksums of what is in it now, as somebody hostile would."""
    file = folder / "description.json"
    body = json.loads(file.read_text())
    if not isinstance(body, dict) or not isinstance(body.get("files"), dict):
        return
    if name != file.name:
        body["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    body.pop("checksum", None)
    body["checksum"] = hashlib.sha256(canonical(body).encode()).hexdigest()
    file.write_text(spelled(body))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name != "log"], ids=str)
def test_values_of_any_type_in_any_place(
    kind: Kind, looked_at: tuple[Asked, dict[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each place goes missing once, and gets one of the wrong values in turn."""
    asked, commands = looked_at
    file = kind.file(asked)
    whole = json.loads(file.read_text())
    description = file.parent / "description.json"
    original = description.read_bytes() if kind.is_stage else b""
    for number, path in enumerate(places(whole)):
        for wrong in (..., WRONG[number % len(WRONG)]):
            with damaged(file, text(json.dumps(changed(whole, path, wrong)))):
                if kind.is_stage:
                    sealed_again(file.parent, file.name)
                for command in kind.named_by:
                    look(command, asked.store, commands.get(command, []), capsys)
            if kind.is_stage:
                description.write_bytes(original)


def test_hidden_and_foreign_files_are_no_records(
    looked_at: tuple[Asked, dict[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    asked, commands = looked_at
    named, sweep = asked.store / "named", asked.sweep.folder
    before = {
        command: look(command, asked.store, commands.get(command, []), capsys).text
        for command in ("status", "report", "results", "gc", "why")
    }
    others = [
        (named / "package.json", '{"name": "x", "version": 1}'),
        (named / "custom" / "notes.json", "not even JSON"),
        (named / "custom" / ".hidden-seed0-01234567.json", "{"),
        (named / ".ipynb_checkpoints" / "imp-seed0-01234567.json", "{"),
        (sweep / "members" / "notes.json", "{"),
        (sweep / "progress" / ".0000.json", "{"),
        (sweep.parent / ".hidden" / "sweep.json", "{"),
        (sweep.parent / "notes.txt", ""),
        (asked.store / "stages" / "fit" / "notes.txt", ""),
        (asked.store / "stages" / "notes" / "x.json", "{"),
    ]
    for file, content in others:
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    for command, seen in before.items():
        after = look(command, asked.store, commands.get(command, []), capsys).text
        assert re.sub(r"\d+[smh]", "", after) == re.sub(r"\d+[smh]", "", seen)
    for file, _ in others:
        file.unlink()


def test_what_was_written_elsewhere_is_not_shown(
    looked_at: tuple[Asked, dict[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A log is one of the sweep's, whatever the file of a member names."""
    asked, commands = looked_at
    secret = asked.folder / "secret"
    secret.write_text("a secret")
    file = asked.sweep.folder / "members" / "0000.json"
    content = {**json.loads(file.read_text()), "log": str(secret), "error": f"no {ESCAPES}"}
    with damaged(file, text(json.dumps(content))):
        seen = look("logs", asked.store, commands["logs"], capsys)
        assert "a secret" not in seen.text
        assert "no ?]0;owned" in seen.text
