"""What is asked of the bench command, as NAME=VALUE; mistakes are refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASELINES = ("eager", "compiled", "csr", "onnxruntime")
DTYPES = ("float32", "bfloat16")
FIGURES = (".svg", ".pdf", ".png")


@dataclass(frozen=True)
class Asked:
    """Settings of one comparison, with their defaults."""

    batch_sizes: tuple[int, ...] = (1, 16)
    threads: int = 1
    dtype: str = "float32"
    against: tuple[str, ...] = BASELINES
    rounds: int = 15
    store: Path | None = None
    cycle: int | None = None
    out: Path | None = None
    figure: Path | None = None


def asked(texts: Sequence[str]) -> Asked:
    """Return the settings that were typed; ValueError naming what is valid for a mistake.

    >>> asked(["batch_sizes=1,8", "against=eager"]).batch_sizes
    (1, 8)
    >>> asked(["batch_sizes=0"])
    Traceback (most recent call last):
    ValueError: batch_sizes=0: expected whole numbers from 1 on, with commas between
    """
    given: dict[str, Any] = {}
    for text in texts:
        name, is_given, value = text.partition("=")
        if not is_given or name not in _READERS:
            known = ", ".join(f"{one}=" for one in _READERS)
            raise ValueError(f"{text!r} is no setting; there are {known}")
        if name in given:
            raise ValueError(f"{name}= is given twice")
        read, expected = _READERS[name]
        try:
            given[name] = read(value)
        except ValueError as error:
            raise ValueError(f"{text}: expected {expected}") from error
    return Asked(**given)


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_number(one) for one in text.split(",")))


def _one_of(valid: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in valid:
            raise ValueError
        return text

    return read


def _some_of(valid: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_one_of(valid)(one) for one in text.split(",")))

    return read


def _path(text: str) -> Path:
    if not text:
        raise ValueError
    return Path(text).expanduser()


def _figure(text: str) -> Path:
    path = _path(text)
    if path.suffix.lower() not in FIGURES:
        raise ValueError
    return path


_READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "batch_sizes": (_numbers, "whole numbers from 1 on, with commas between"),
    "threads": (_number, "a whole number from 1 on"),
    "dtype": (_one_of(DTYPES), f"one of {', '.join(DTYPES)}"),
    "against": (_some_of(BASELINES), f"some of {', '.join(BASELINES)}, with commas between"),
    "rounds": (_number, "a whole number from 1 on"),
    "store": (_path, "a folder"),
    "cycle": (int, "a whole number"),
    "out": (_path, "a file"),
    "figure": (_figure, f"a file that ends in one of {', '.join(FIGURES)}"),
}
