"""A stored network as it is measured, and batches for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sparsekit.bench.ways import Subject
from sparsekit.core.prune import apply
from sparsekit.exports.comparing import batch_of
from sparsekit.networks.equality import drawn_inputs
from sparsekit.networks.removal import remove_masked_channels
from sparsekit.networks.stored import read
from sparsekit.store.references import Reference

AtBatchSize = Callable[[int], Subject]


def stored_subject(
    reference: Reference,
    *,
    store: str | Path | None,
    cycle: int | None,
    dtype: torch.dtype,
    threads: int,
) -> tuple[str, AtBatchSize]:
    """Return the key of a stored network, and what makes it a subject at a batch size.

    Batches are drawn from N(0, 1): times do not depend on what is seen. Channels that keep no
    weight are removed from what is converted, where that is exact. Arguments and errors are those
    of `sparsekit.load`.
    """
    network, state, masks, key = read(reference, store=store, cycle=cycle)
    dense = network.loaded(apply(state, masks)).eval()
    reduced, state, masks = remove_masked_channels(network, state, masks, None)
    model = reduced.loaded(apply(state, masks)).eval()

    def at(batch_size: int) -> Subject:
        inputs = batch_of(drawn_inputs(network), batch_size)
        return Subject(dense, model, masks, inputs, dtype=dtype, threads=threads)

    return key, at
