"""Exporting a stored network: written, opened again, compared, measured, and put in its place."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from sparsekit.data.batches import call, num_examples, part
from sparsekit.exports.comparing import (
    batch_of,
    largest_difference,
    magnitude,
    median_times,
    threads,
)
from sparsekit.exports.folder import placed, same_export, write_manifest
from sparsekit.exports.formats import Format, format_named
from sparsekit.exports.original import Original
from sparsekit.exports.settings import Run, Settings
from sparsekit.inference.manifest import Export
from sparsekit.models.tied import tied_names
from sparsekit.networks.network import describe_inputs
from sparsekit.system.machine import versions

NUM_INPUTS = 64
"""So many examples outputs are compared on, at least."""

TOLERANCE = 1e-3
"""Outputs may differ by this part of the largest of them; other orders of summation differ less."""


def export(
    original: Original, format_name: str, out: Path, settings: Settings
) -> tuple[Export, bool]:
    """Export a network into the folder `out`; also say whether it was there already.

    It is there as a whole or not at all. ValueError for an unknown format, for a network that the
    format cannot hold, for outputs that differ by more than the tolerance where values are
    float32, and for something else at `out`.
    """
    chosen = format_named(format_name)
    chosen.require(settings)
    asked = {"format": format_name, "source": original.key, "settings": vars(settings)}
    there = same_export(out, asked)
    if there is not None:
        return there, True
    with placed(out) as folder, torch.no_grad(), threads(settings.threads):
        chosen.write(original, folder, settings)
        outputs = call(original.model, part(original.inputs, 0, 1))
        about = {
            **asked,
            "sparsekit": versions().get("sparsekit", "unknown"),
            "inputs": original.network.inputs,
            "outputs": describe_inputs(outputs),
        }
        write_manifest(folder, {**about, "measured": {}})
        run = chosen.open(folder, original, settings)
        measured = {
            **_sizes(original, folder),
            **_differences(original, run, settings),
            **_times(original, run, chosen, settings),
        }
        if chosen.layers is not None:
            measured["layers"] = chosen.layers(folder)
        export = write_manifest(folder, {**about, "measured": measured})
    return Export(out, export.manifest), False


def _sizes(original: Original, folder: Path) -> dict[str, Any]:
    """Return the bytes on disk, and those of all weights and buffers as float32 tensors."""
    tied = tied_names(original.model).values()
    again = {name for names in tied for name in names[1:]}
    state = original.model.state_dict()
    dense = sum(tensor.nbytes for name, tensor in state.items() if name not in again)
    prunable = sum(mask.numel() for mask in original.masks.values())
    kept = sum(int(mask.sum()) for mask in original.masks.values())
    return {
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "bytes_of_dense": dense,
        "kept": kept,
        "prunable": prunable,
    }


def _differences(original: Original, run: Run, settings: Settings) -> dict[str, Any]:
    expected = call(original.model, original.inputs)
    apart, largest = largest_difference(run(original.inputs), expected), magnitude(expected)
    if not apart < torch.inf:
        raise ValueError("outputs of the export have another form, or are not finite numbers")
    if settings.dtype == "float32" and apart > TOLERANCE * max(largest, 1e-6):
        raise ValueError(f"outputs of the export differ by {apart:g}; the largest is {largest:g}")
    return {
        "largest_difference": apart,
        "largest_output": largest if largest < torch.inf else None,
        "compared_on": f"{num_examples(original.inputs)} examples {original.are}",
    }


def _times(original: Original, run: Run, chosen: Format, settings: Settings) -> dict[str, Any]:
    """Return the median times of a batch; of formats that are only stored there is none."""
    if not chosen.runs:
        return {}
    batch = batch_of(original.inputs, settings.batch_size)
    functions = {
        "seconds": functools.partial(run, batch),
        "seconds_of_dense": functools.partial(call, original.model, batch),
    }
    return median_times(functions, settings.threads)
