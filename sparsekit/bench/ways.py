"""The ways to run one network that are compared, each with a reason where it cannot be had."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsekit.bench.stock import with_stock_csr
from sparsekit.core.types import Masks
from sparsekit.data.batches import Inputs, call, tensors_of
from sparsekit.exports.convert import Conversion, convert
from sparsekit.exports.programs import quiet

Run = Callable[[], Any]
OURS = "sparse"
DENSE = ("eager", "compiled", "onnxruntime")
"""The ways that multiply by all weights: the best of them is what sparse ones are held against."""


class Unavailable(ValueError):
    """A way that cannot be had here; the reason in one line."""


@dataclass(frozen=True)
class Subject:
    """A network to be measured, with one batch of the size that is asked for.

    `dense`: with all weights, 0 where pruned. `model`: what is converted, with `masks` by parameter
    name, True is kept; `dense` itself, or what is left of it without channels that keep nothing.
    Both in evaluation mode. `dtype`: how our layers store values. `threads`: of the CPU.
    """

    dense: nn.Module
    model: nn.Module
    masks: Masks
    inputs: Inputs
    dtype: torch.dtype
    threads: int


def eager(subject: Subject) -> Run:
    """Return the dense network as it is."""
    return lambda: call(subject.dense, subject.inputs)


def compiled(subject: Subject) -> Run:
    """Return the dense network by torch.compile, its weights frozen, its norms folded."""
    torch._dynamo.reset()
    try:
        network = torch.compile(subject.dense, dynamic=False, options={"freezing": True})
        call(network, subject.inputs)
    except Exception as error:  # no compiler, or an operation that it does not know
        raise Unavailable(_first_line(error)) from error
    return lambda: call(network, subject.inputs)


def onnxruntime(subject: Subject) -> Run:
    """Return the dense network in onnxruntime."""
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise Unavailable("not installed") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = subject.threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            _write_onnx(subject, path)
            session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # no exporter, or an operation that it does not know
            raise Unavailable(_first_line(error)) from error
    names = [one.name for one in session.get_inputs()]
    given = dict(zip(names, (one.numpy() for one in tensors_of(subject.inputs)), strict=True))
    return lambda: [torch.from_numpy(one) for one in session.run(None, given)]


def csr(subject: Subject, conversion: Conversion) -> Run:
    """Return the converted network with PyTorch's own CSR matrices in place of our layers."""
    network = with_stock_csr(conversion.graph)
    given = tuple(tensors_of(subject.inputs))
    return lambda: network(*given)


def sparse(subject: Subject, conversion: Conversion) -> Run:
    """Return the converted network, each layer as it was fastest when it was converted."""
    network = conversion.network()
    given = tuple(tensors_of(subject.inputs))
    return lambda: network(*given)


BASELINES: Mapping[str, Callable[..., Run]] = {
    "eager": eager,
    "compiled": compiled,
    "csr": csr,
    "onnxruntime": onnxruntime,
}


def converted(subject: Subject, choose: Any) -> Conversion:
    """Convert the network; `choose` as in `convert`."""
    return convert(
        subject.model,
        subject.masks,
        subject.inputs,
        choose=choose,
        threads=subject.threads,
        dtype=subject.dtype,
    )


def _write_onnx(subject: Subject, path: Path) -> None:
    inputs = subject.inputs
    by_name = dict(inputs) if isinstance(inputs, Mapping) else {}
    given: tuple[Tensor, ...] = () if by_name else tuple(tensors_of(inputs))
    with quiet():
        program = torch.export.export(subject.dense, given, by_name)
        written = torch.onnx.export(program, dynamo=True, verbose=False)
    assert written is not None
    written.save(path, external_data=False)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
