"""Where something is computed: versions of what computes it, and the machine, without PyTorch."""

from __future__ import annotations

import functools
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("sparsekit", "torch", "torchvision", "timm", "lightning", "numpy")
PROCESSOR = Path("/proc/cpuinfo")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return name, processor and number of cores of this machine, and the GPU in use, if any."""
    return {**_machine(), **_gpu()}


@functools.cache
def _machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"node": platform.node(), "cpu": _processor(), "cores": f"{cores} cores"}


def _processor() -> str:
    try:
        text = PROCESSOR.read_text(errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _gpu() -> dict[str, str]:
    """Name the GPU that this process has woken; none is woken to be asked."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"gpu": str(torch.cuda.get_device_name()), "cuda": f"CUDA {torch.version.cuda}"}
