"""The machine in one line, from what the kernel tells of it."""

from __future__ import annotations

from pathlib import Path

from sparsekit.measuring.hardware import caches, extensions, hardware


def test_extensions_of_both_families() -> None:
    assert extensions("flags\t: sse avx2 avx512f amx_bf16\n") == ["AVX2", "AVX-512", "AMX BF16"]
    assert extensions("Features\t: fp asimd sve\n") == ["NEON", "SVE"]
    assert extensions("model name : avx2\n") == []


def test_caches_for_data_alone(tmp_path: Path) -> None:
    told = {"index0": "1 Data 48K", "index1": "1 Instruction 64K", "index3": "3 Unified 491520K"}
    for name, text in told.items():
        for fact, value in zip(("level", "type", "size"), text.split(), strict=True):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / fact).write_text(value + "\n")

    assert caches(tmp_path) == {"L1": "48 KB", "L3": "480 MB"}
    assert caches(tmp_path / "nothing") == {}


def test_the_line_has_one_row() -> None:
    assert hardware()
    assert "\n" not in hardware()
