"""What the studies that a report knows must hold; see `system/schema.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsekit.system.schema import Check, listing, mapping, number, optional, text, whole

_numbers = listing(optional(number()), least=1)
_matrix = listing(_numbers, least=1)
_network = optional(mapping({}))
_particles = mapping(
    {
        "best": whole(),
        "mean": _network,
        "merged": _network,
        "gap_to_mean": _network,
        "gap_to_best": _network,
        "ensemble": _network,
        "geometry": mapping(
            {
                "distances": _matrix,
                "angles": _matrix,
                "to_barycentre": _numbers,
            }
        ),
    },
    {"particles": listing(mapping({})), "candidates": listing(mapping({}))},
)


def particles(value: Any, place: str) -> None:
    """Accept the study of the particles of a cycle; older releases call them candidates."""
    _particles(value, place)
    members = value.get("particles") or value.get("candidates", [])
    if value["best"] >= max(1, len(members)):
        raise ValueError(f"best={value['best']}, of {len(members)} particles")
    for name in ("distances", "angles"):
        matrix = value["geometry"][name]
        if any(len(row) != len(matrix) for row in matrix):
            raise ValueError(f"geometry.{name} is not square")


STUDIED: Mapping[str, Check] = {
    "particles": particles,
    "barriers": mapping({"pairs": listing(mapping({"kind": text()}))}),
}
"""Of studies by name; what others hold is shown as far as it is numbers."""
