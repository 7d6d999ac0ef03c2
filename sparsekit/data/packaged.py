"""Tables that come with scikit-learn, read without importing it, which takes most of a second."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def digits_table() -> tuple[Table, Table]:
    """Return the pixels [1797, 8, 8] and labels [1797] of scikit-learn's digits."""
    table = _read("digits.csv.gz", delimiter=",")
    if table is None:
        source = _loaded("load_digits")
        return source.images, source.target
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def diabetes_table() -> tuple[Table, Table]:
    """Return the inputs [442, 10], in their own units, and targets [442] of the diabetes study."""
    inputs, targets = _read("diabetes_data_raw.csv.gz"), _read("diabetes_target.csv.gz")
    if inputs is None or targets is None:
        source = _loaded("load_diabetes", scaled=False)
        return source.data, source.target
    return inputs, targets


def _read(name: str, **form: Any) -> Table | None:
    """Return the numbers of a file; None where this version keeps it elsewhere."""
    found = importlib.util.find_spec("sklearn")  # runs nothing of it
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "datasets" / "data" / name
    return np.loadtxt(path, **form) if path.is_file() else None


def _loaded(loader: str, **settings: Any) -> Any:
    from sklearn import datasets

    load: Callable[..., Any] = getattr(datasets, loader)
    return load(**settings)
