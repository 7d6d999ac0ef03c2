"""Networks as programs of others: torch.export and ONNX. Weights are dense, 0 where pruned."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from sparsekit.data.batches import Inputs, call, concatenate, tensors_of
from sparsekit.exports.original import Original
from sparsekit.exports.settings import Run, Settings
from sparsekit.inference.manifest import FILES

(PROGRAM,), (ONNX,) = FILES["torch_export"], FILES["onnx"]


def write_program(original: Original, folder: Path, settings: Settings) -> None:
    """Write the network as torch.export records it."""
    torch.export.save(program_of(original), folder / PROGRAM)


def open_program(folder: Path, original: Original, settings: Settings) -> Run:
    """Return what `write_program` wrote as a module."""
    return functools.partial(call, torch.export.load(folder / PROGRAM).module())


def write_onnx(original: Original, folder: Path, settings: Settings) -> None:
    """Write the network as a model of ONNX, in one file."""
    with quiet():
        model = torch.onnx.export(program_of(original), dynamo=True, verbose=False)
        assert model is not None
        model.save(folder / ONNX, external_data=False)


def open_onnx(folder: Path, original: Original, settings: Settings) -> Run:
    """Return what `write_onnx` wrote, run by onnxruntime; outputs are a list of tensors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
    session = onnxruntime.InferenceSession(
        folder / ONNX, options, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Inputs) -> list[Tensor]:
        given = {
            name: tensor.numpy() for name, tensor in zip(names, tensors_of(inputs), strict=True)
        }
        return [torch.from_numpy(one) for one in session.run(None, given)]

    return run


def program_of(original: Original) -> ExportedProgram:
    """Return what torch.export records of a network, for batches of any size.

    ValueError, with PyTorch's reason, for a network that cannot be recorded.
    """
    # A batch of one would be taken for the only size there is.
    inputs = concatenate([original.network.example()] * 2)
    sizes: Any = {0: Dim("batch")}
    record: Callable[..., ExportedProgram] = functools.partial(torch.export.export, original.model)
    try:
        if isinstance(inputs, dict):
            return record((), inputs, dynamic_shapes={name: sizes for name in inputs})
        given = tuple(tensors_of(inputs))
        return record(given, dynamic_shapes=tuple(sizes for _ in given))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kind = type(original.model).__name__
        raise ValueError(f"torch.export cannot record {kind}: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporter says about itself from those who asked for a file."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
