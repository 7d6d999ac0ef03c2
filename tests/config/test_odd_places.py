"""Folders and files of configurations with names that a shell or Hydra reads in its own way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sparsekit.configuration.compose import compose_one, compose_runs, list_groups, summary
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.overrides import quoted, value_of
from sparsekit.configuration.sweep_files import read_sweep

NAMES = (
    "with space", "ünï-日本", "epoch=999-step=1", "a,b", "(Personal)", "50% off", "it's", 'q"uote',
    "$HOME", "${oc.env:HOME}", "{x}", "[y]", "#z", "a:b", "a:", "x@y", "~t", "null", "0123",
    "back\\slash", "end\\", "q\\'x", "two\nlines", " lead", "trail ", "-dash", "*", "x" * 255,
    os.fsdecode(b"not-utf8-\xff"),
)  # fmt: skip


def option(folder: Path, name: str, text: str = "defaults: [imp, _self_]\ncycles: 1\n") -> Path:
    file = folder / "method" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return folder


def test_options_come_from_folders_of_any_name(tmp_path: Path) -> None:
    folders = [option(tmp_path / "first", "mine0")]
    for number, name in enumerate(NAMES, 1):  # each option builds upon that of the folder before
        text = f"defaults: [mine{number - 1}, _self_]\ncycles: {number}\n"
        folders.append(option(tmp_path / name, f"mine{number}", text))
    run = compose_one([f"method=mine{len(NAMES)}"], folders)
    assert run.config["method"]["cycles"] == len(NAMES)


@pytest.mark.parametrize("name", ["my own", "ünï-日本", "a,b", "x(1)", "it's"])
def test_options_have_any_name_in_quotes(name: str, tmp_path: Path) -> None:
    folder = option(tmp_path, name)
    grid = f"sweep=[{{method:[{quoted(name)},imp]}}]"
    runs = [*compose_runs([f"method={quoted(name)}"], [folder]), *compose_runs([grid], [folder])]
    assert [run.choices["method"] for run in runs] == [name, name, "imp"]
    with pytest.raises(ConfigError, match="no such option; nearest"):
        compose_runs([f"method={quoted(name + 'x')}"], [folder])


@pytest.mark.parametrize("text", [*NAMES, "", "''", "\\'", "a'b\\", "\\\\"])
def test_quotes_change_nothing(text: str) -> None:
    assert value_of(f"x={quoted(text)}") == text


def test_how_to_type_what_needs_quotes_is_said() -> None:
    with pytest.raises(ConfigError, match=r"quotes of its own: .*runtime.store='/ünï/runs'"):
        compose_runs(["runtime.store=/ünï/runs"])
    with pytest.raises(ConfigError, match=r"neither an option nor key=value: [^;]*$"):
        compose_runs(["no/equals sign"])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_what_is_not_utf8_is_named(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "method" / "mine.yaml"
    option(tmp_path, "mine")
    file.write_bytes("# für mich\ndefaults: [imp, _self_]\n".encode(encoding))
    with pytest.raises(ConfigError, match=rf"^{file} is not UTF-8"):
        compose_runs(["method=mine"], [tmp_path])
    with pytest.raises(ConfigError, match="utf-8"):
        read_sweep(file)
    assert summary(list_groups([tmp_path])["method"]["mine"]) is not None


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    option(tmp_path, "mine", "\ufeffdefaults: [imp, _self_]\ncycles: 2\n")
    assert compose_one(["method=mine"], [tmp_path]).config["method"]["cycles"] == 2
    file = tmp_path / "sweep.yaml"
    file.write_text("\ufeffoverrides: [seed=1]\n", encoding="utf-8")
    assert read_sweep(file).overrides == ("seed=1",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\xef\xbb\xbf# @package _global_\nmethod: {cycles: 1}\n",
            "mine.yaml begins",
        ),
        (b"3\n", "a configuration file is no mapping"),
        (b"- 1\n", r"method: expected a leaf with `_target_`, found \[1\]"),
        (b"a:\n\tb: 1\n", r"cannot start any token in .*mine.yaml"),
        (b"a: \0\n", r"x0000: .*mine.yaml"),
        (b"---\na: 1\n---\nb: 2\n", r"expected a single document .*mine.yaml"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "nested too deeply"),
    ],
)
def test_files_that_are_no_configurations_are_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    option(tmp_path, "mine", "")
    (tmp_path / "method" / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        compose_one(["method=mine"], [tmp_path])


def test_a_sweep_file_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("sweep: " + "[" * 3000 + "]" * 3000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        read_sweep(tmp_path / "sweep.yaml")


def test_what_is_no_file_is_no_option(tmp_path: Path) -> None:
    option(tmp_path, "mine")
    (tmp_path / "method" / "folder.yaml").mkdir()
    (tmp_path / "method" / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    listed = list_groups([tmp_path])["method"]
    assert "mine" in listed
    assert not {"folder", "dangling"} & set(listed)
