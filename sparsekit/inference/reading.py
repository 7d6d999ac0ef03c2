"""Reading exports: a network that runs, or weights and masks. Nothing of either is called.

This is all it takes to run a network elsewhere: PyTorch and safetensors, no pickle, and of
sparsekit this room alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsekit.inference.codings import condensed_rows, csr_rows
from sparsekit.inference.files import DamagedExport
from sparsekit.inference.form import PARTS
from sparsekit.inference.graph import Graph
from sparsekit.inference.layout import Stored, decoded, read
from sparsekit.inference.manifest import GRAPH, LAYOUT, STORED, WEIGHTS, Export, open_export
from sparsekit.inference.rows import SparseRows
from sparsekit.inference.running import SparseNetwork

ROWS = {"csr": csr_rows, "condensed": condensed_rows}
ELSEWHERE = {
    "onnx": "open network.onnx with onnxruntime",
    "torch_export": "torch.export.load opens network.pt2, and may unpickle what is in it",
}
MISTAKES = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError,
    RuntimeError,  # by PyTorch, of what cannot be; RecursionError is one
)  # fmt: skip
"""What reading raises for content that is not what it should be."""


def load(folder: str | Path) -> SparseNetwork:
    """Return the network of a `condensed` export as a module, on the CPU and in eval mode.

    Everything is compared with its checksum and checked before anything runs; DamagedExport, a
    ValueError, says in one line what is wrong. ValueError for exports of other formats, with what
    reads them.
    """
    export = open_export(Path(folder))
    if export.format != "condensed":
        raise ValueError(f"{folder} is a {export.format} export: {_reader(export)}")
    layout, record = export.json(LAYOUT), export.json(GRAPH)
    tensors = export.tensors(WEIGHTS)
    try:
        network = SparseNetwork(graph_of(record, read(layout, tensors)))
    except MISTAKES as error:
        raise _damaged(export, error) from error
    return network.eval()


def weights(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return state dict, 0 where pruned, and masks of an export that stores them.

    DamagedExport as `load`; ValueError for exports of networks that only run.
    """
    export = open_export(Path(folder))
    if set(export.manifest["files"]) != set(STORED):
        raise ValueError(f"{folder} is a {export.format} export: {_reader(export)}")
    layout, tensors = export.json(LAYOUT), export.tensors(WEIGHTS)
    try:
        return decoded(read(layout, tensors))
    except MISTAKES as error:
        raise _damaged(export, error) from error


def graph_of(record: Mapping[str, Any], stored: Sequence[Stored]) -> Graph:
    """Return the graph of a record whose tensors are stored; ValueError as in `from_record`.

    What is stored row by row is a sparse weight, all else is decoded.
    """
    tensors, _ = decoded([one for one in stored if one.coding not in ROWS])
    for one in stored:
        if one.coding in ROWS:
            rows = _rows(one)
            tensors |= {f"{one.name}.{part}": getattr(rows, part) for part in PARTS}
    return Graph.from_record(record, tensors)


def _rows(stored: Stored) -> SparseRows:
    if len(stored.shape) != 2:
        raise ValueError(f"{stored.name} is no matrix: {list(stored.shape)}")
    try:
        return ROWS[stored.coding](stored.parts, *stored.shape)
    except ValueError as error:
        raise ValueError(f"{stored.name}: {error}") from error


def _reader(export: Export) -> str:
    if export.format == "condensed":
        return "sparsekit.inference.load reads it"
    return ELSEWHERE.get(
        export.format,
        "sparsekit.load builds its network, sparsekit.inference.reading.weights reads its tensors",
    )


def _damaged(export: Export, error: BaseException) -> DamagedExport:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DamagedExport(f"{export.folder} is damaged: {reason}")
