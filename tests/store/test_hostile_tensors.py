"""Tensors whose file somebody else wrote, with a checksum that holds."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsekit.store.identity import Stage
from sparsekit.store.sealing import CorruptResult
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network, save_network
from tests.status.test_damaged_files import sealed_again

STAGE = Stage("fit", {"epochs": 1})
STATE = {"a": torch.ones(2, 3)}
MASKS = {"a": torch.ones(2, 3, dtype=torch.bool)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.ensure(
        STAGE, lambda folder: save_network(folder, state=STATE, masks=MASKS, network={"seed": 1})
    )
    return store


def spelled(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def of(dtype: str, shape: list[int], size: int = 0, *, first: int = 0) -> bytes:
    """A file of one tensor, with that many bytes of zeros."""
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [first, size]}
    return spelled(json.dumps({"a": tensor}).encode(), bytes(size))


HOSTILE = {
    "nothing": b"",
    "no header": bytes(7),
    "a longer header": spelled(b"{}", length=2**40),
    "the longest header": spelled(b"{}", length=2**64 - 1),
    "no JSON": spelled(b"{"),
    "nested": spelled(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "another name": spelled(b"{}"),
    "no such dtype": of("F128", [1], 16),
    "a dtype that torch has not": of("F4", [2], 1),
    "less than its shape": of("F32", [2, 3], 8),
    "more than its shape": of("F32", [1], 24),
    "not its bytes": of("F32", [1], 8, first=4),
    "negative": of("F32", [-1]),
    "more than fits a number": of("F32", [2**62, 2**62]),
    "none of very many": of("F32", [0, 2**62, 2**62]),
    "none of too many": of("F32", [0, 2**63]),
}


def replaced(store: Store, part: str, content: bytes) -> None:
    file = store.path(STAGE.key) / f"{part}.safetensors"
    file.write_bytes(content)
    sealed_again(file.parent, file.name)


@pytest.mark.parametrize("part", ["state", "masks"])
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_file_of_tensors_is_refused_by_name(what: str, part: str, store: Store) -> None:
    replaced(store, part, HOSTILE[what])
    with pytest.raises(CorruptResult) as caught:
        load_network(store, STAGE.key)
    assert str(caught.value).startswith(f"{STAGE.key}: {part}.safetensors does not hold")


@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [("F32", [2, 3], 24), ("BOOL", [6], 6), ("BOOL", [], 1)]
)
def test_masks_of_other_shapes_and_types_are_none(
    dtype: str, shape: list[int], size: int, store: Store
) -> None:
    state, masks = load_network(store, STAGE.key)
    assert state["a"].equal(STATE["a"])
    assert masks["a"].equal(MASKS["a"])
    replaced(store, "masks", of(dtype, shape, size))
    with pytest.raises(CorruptResult, match="the mask of 'a' is none"):
        load_network(store, STAGE.key)


@pytest.mark.parametrize("named", [["b"], ["a", "../a"], [f"a{'b' * 10**6}"]])
def test_names_that_are_not_those_of_the_tensors(named: list[str], store: Store) -> None:
    file = store.path(STAGE.key) / "parts.json"
    parts: dict[str, Any] = json.loads(file.read_text())
    file.write_text(json.dumps({**parts, "state": {"names": named}}))
    sealed_again(file.parent, file.name)
    with pytest.raises(CorruptResult, match=r"state\.safetensors does not hold"):
        load_network(store, STAGE.key)
