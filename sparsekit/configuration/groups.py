"""Groups of options: what is chosen from them, and what is a value to be set afterwards."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sparsekit.configuration.config import ConfigError, check_key, suggest
from sparsekit.configuration.overrides import key_of, text_of, value_of, whole_leaves

ADDED_GROUPS = (
    "experiment", "debug", "control", "transform", "distillation", "source", "callbacks",
)  # fmt: skip
QUOTES = ("'", '"')
Groups = Mapping[str, Mapping[str, Path]]


def sorted_out(overrides: Sequence[str], groups: Groups) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sort overrides into choices from groups, as Hydra wants them, and values set afterwards.

    Whole leaves are neither.
    """
    leaves = whole_leaves(overrides)
    typed = [_normalised(text, groups) for text in overrides if key_of(text) not in leaves]
    values = tuple(text for text in typed if text.startswith("++"))
    return tuple(text for text in typed if not text.startswith("++")), values


def check_option(text: str, groups: Groups) -> None:
    """Raise ConfigError for an option that its group does not have; quotes are none of it."""
    name = key_of(text).partition("@")[0]
    if name not in groups or text.startswith("~"):
        return
    value = text_of(text)
    option = str(value_of(text)) if value[:1] in QUOTES else value
    if option not in groups[name]:
        raise ConfigError(f"{name}={value}: no such option{suggest(option, groups[name])}")


def _normalised(text: str, groups: Groups) -> str:
    # Whether a key is in the defaults list, in a YAML file, or only in a signature is our
    # business, not the user's: the prefix Hydra needs is derived, and `check` knows what is valid.
    if text.startswith("~"):
        return text
    key, _, value = text.partition("=")
    name = key.lstrip("+")
    if name.partition("@")[0] in groups:
        check_option(text, groups)
        return f"+{name}={value}" if name in ADDED_GROUPS else f"{name}={value}"
    check_key(name.partition(".")[0], groups)
    return f"++{name}={value}"


def undecodable(groups: Groups) -> str:
    """Name the configuration file that cannot be decoded: Hydra's error does not."""
    for file in (file for group in groups.values() for file in group.values()):
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return str(file)
    return "a configuration file"


def refuse_mark(files: Iterable[Path]) -> None:
    """Raise ConfigError for a byte order mark behind which Hydra does not see `# @package`."""
    for file in files:
        with file.open("rb") as opened:
            if opened.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                continue
            header = itertools.takewhile(lambda line: line.strip()[:1] in (b"", b"#"), opened)
            if any(b"@package" in line for line in header):
                raise ConfigError(
                    f"{file} begins with a byte order mark, which hides its line with @package; "
                    "save it as plain UTF-8"
                )
