"""The formats of exports: how each is written, and how what was written is run to be checked."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsekit.data.batches import call
from sparsekit.exports import condensed, programs
from sparsekit.exports.original import Original
from sparsekit.exports.settings import DTYPES, Run, Settings
from sparsekit.inference.layout import Stored, encoded, plain, written
from sparsekit.inference.manifest import LAYOUT, NETWORK, WEIGHTS
from sparsekit.inference.reading import weights
from sparsekit.models.tied import tied_names
from sparsekit.networks.stored import loaded
from sparsekit.store.tensors import save_tensors
from sparsekit.system.files import write_json


@dataclass(frozen=True)
class Format:
    """How a format is written into a folder, and opened from there to be run.

    `runs`: it is there to be run; others are decoded to the dense network. `layers` counts the
    layers of each kind, where that was chosen. `dtypes`: of the values.
    `needs`: packages beyond those that sparsekit needs, installed by `extra`.
    """

    write: Callable[[Original, Path, Settings], None]
    open: Callable[[Path, Original, Settings], Run]
    runs: bool = True
    layers: Callable[[Path], Mapping[str, int]] | None = None
    dtypes: tuple[str, ...] = ("float32",)
    needs: tuple[str, ...] = ()
    extra: str = ""

    def require(self, settings: Settings) -> None:
        """Raise ValueError for a type of values that it does not have, or a missing package."""
        if settings.dtype not in self.dtypes:
            raise ValueError(f"this format stores {', '.join(self.dtypes)}, not {settings.dtype}")
        for name in self.needs:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise ValueError(
                    f"this format needs {name}: pip install 'sparsekit[{self.extra}]'"
                ) from error


def format_named(name: str) -> Format:
    """Return the format of a name; ValueError, with those there are, for any other."""
    if name not in FORMATS:
        raise ValueError(f"format={name} is none of {', '.join(FORMATS)}")
    return FORMATS[name]


def write_stored(
    original: Original, folder: Path, settings: Settings, *, codings: Sequence[str]
) -> None:
    """Write weights and masks, each in the smallest of some codings, and how to build the rest."""
    tied = tied_names(original.model).values()
    first_of = {name: names[0] for names in tied for name in names[1:]}
    stored = [
        Stored(name, same_as=first_of[name])
        if name in first_of
        else _stored(name, tensor, original.masks.get(name), codings, settings.values)
        for name, tensor in original.model.state_dict().items()
    ]
    layout, tensors = written(stored)
    save_tensors(tensors, folder / WEIGHTS)
    write_json(folder / LAYOUT, layout)
    write_json(folder / NETWORK, original.network.record())


def open_stored(folder: Path, original: Original, settings: Settings) -> Run:
    """Return the dense network of what `write_stored` wrote; ValueError unless all is there."""
    state, masks = weights(folder)
    for name, mask in original.masks.items():
        if not torch.equal(masks[name], mask):
            raise ValueError(f"the mask of {name} does not come back as it was written")
    for name, tensor in original.model.state_dict().items():
        kept = tensor.to(settings.values).float() if name in masks else tensor
        if not torch.equal(state[name], kept) and not kept.isnan().any():
            raise ValueError(f"{name} does not come back as it was written")
    return functools.partial(call, loaded(original.network, state, original.key))


def _stored(
    name: str, tensor: Any, mask: Tensor | None, codings: Sequence[str], dtype: torch.dtype
) -> Stored:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} of the network's state is a {type(tensor).__name__}, no tensor")
    return plain(name, tensor) if mask is None else encoded(name, tensor, mask, codings, dtype)


def _storage(*codings: str) -> Format:
    write = functools.partial(write_stored, codings=codings)
    return Format(write, open_stored, runs=False, dtypes=tuple(DTYPES))


FORMATS: Mapping[str, Format] = {
    "condensed": Format(
        condensed.write_condensed,
        condensed.open_condensed,
        layers=condensed.layers_of,
        dtypes=tuple(DTYPES),
    ),
    "dense_mask": _storage("dense"),
    "csr": _storage("csr"),
    "two_four": _storage("two_four"),
    "bitmap": _storage("bitmap"),
    "delta": _storage("gaps", "bitmap"),
    "torch_export": Format(programs.write_program, programs.open_program),
    "onnx": Format(
        programs.write_onnx,
        programs.open_onnx,
        needs=("onnx", "onnxscript", "onnxruntime"),
        extra="onnx",
    ),
}
