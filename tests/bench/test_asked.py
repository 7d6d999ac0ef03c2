"""Settings of the command, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsekit.bench import ways
from sparsekit.bench.asked import BASELINES, Asked, asked


def test_settings_are_read_and_others_have_defaults() -> None:
    texts = ["batch_sizes=8,1,8", "threads=2", "dtype=bfloat16", "against=csr,eager", "out=a.md"]

    found = asked(texts)

    assert found == Asked(
        batch_sizes=(8, 1), threads=2, dtype="bfloat16", against=("csr", "eager"), out=Path("a.md")
    )
    assert asked([]) == Asked()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size=1", "'batch_size=1' is no setting; there are batch_sizes=, threads=, dtype="),
        ("batch_sizes=1,x", "expected whole numbers from 1 on, with commas between"),
        ("threads=0", "threads=0: expected a whole number from 1 on"),
        ("dtype=float16", "expected one of float32, bfloat16"),
        ("against=eager,dense", "expected some of eager, compiled, csr, onnxruntime, with commas"),
        ("figure=a.gif", "expected a file that ends in one of .svg, .pdf, .png"),
        ("out=", "expected a file"),
    ],
)
def test_mistakes_are_answered_with_what_is_valid(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        asked([text])


def test_nothing_is_said_twice() -> None:
    with pytest.raises(ValueError, match="threads= is given twice"):
        asked(["threads=1", "threads=2"])


def test_each_baseline_has_a_way() -> None:
    assert tuple(ways.BASELINES) == BASELINES
