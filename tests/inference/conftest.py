"""What runs sparse layers on every level of kernels this CPU has."""

import pytest
import torch

from sparsekit.inference import library


def levels():
    best = library._LEVEL_OF_CPU.get(torch.backends.cpu.get_cpu_capability(), "portable")
    return library.CHOICES[library.CHOICES.index(best) :]


@pytest.fixture(params=levels())
def kernels(request, monkeypatch):
    """Make layers use one level; it must be what was asked for."""
    found, why = library._loaded(request.param)
    assert (found is None) == (request.param == "torch"), why
    for module in ("layers", "library", "stems"):
        monkeypatch.setattr(f"sparsekit.inference.{module}.library", lambda: found)
    return found
