"""Old import paths, for one release: modules that moved are forwarded to, with a warning.

`register` costs one entry of sys.meta_path, asked only for what nothing else finds.
"""

from __future__ import annotations

import functools
import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

PACKAGES = ("sparsekit.execution", "sparsekit.jobs")
_OF_EXECUTION = {
    "store": ("store", "claims", "identity", "sealing", "tensors"),
    "system": ("files", "interruption", "executors", "gpus", "team", "fit_jobs"),
    "sweeps": ("scheduler", "liveness", "clusters", "resources", "slurm"),
}
_OF_JOBS = {
    "attendance": "attempts", "control": "controller", "launch": "launch", "member": "member",
    "pool": "pool", "snapshot": "snapshot",
}  # fmt: skip
MODULES = {
    **{
        f"sparsekit.execution.{name}": f"sparsekit.{room}.{name}"
        for room, names in _OF_EXECUTION.items()
        for name in names
    },
    **{f"sparsekit.jobs.{old}": f"sparsekit.sweeps.{new}" for old, new in _OF_JOBS.items()},
    **{
        f"sparsekit.{name}": f"sparsekit.configuration.{name}"
        for name in ("config", "compose", "overrides", "signatures")
    },
    **{
        f"sparsekit.{name}": f"sparsekit.runs.{name}"
        for name in ("runner", "rehearsal", "planning")
    },
    "sparsekit.sweep": "sparsekit.configuration.sweep_files",
    "sparsekit.execution.sweeps": "sparsekit.sweeps.records",
    "sparsekit.status.lineage": "sparsekit.status.provenance",
    "sparsekit.training.course": "sparsekit.training.fit_schedule",
    "sparsekit.training.topology": "sparsekit.training.mask_history",
    "sparsekit.training.task": "sparsekit.training.problem",
    "sparsekit.training.beacon": "sparsekit.training.progress_file",
    "sparsekit.training.together": "sparsekit.training.several_nodes",
    "sparsekit.training.dashboards": "sparsekit.mirror.logger",
}
NAMES = {
    "sparsekit.store.identity": {"key_of": "stage_key"},
    "sparsekit.sweeps.attempts": {"attend": "run_attempt"},
    "sparsekit.sweeps.records": {"every": "list_sweeps", "find": "find_sweep"},
    "sparsekit.store.tensors": {"load_ticket": "load_network", "save_ticket": "save_network"},
    "sparsekit.training.fit_schedule": {"Course": "FitSchedule"},
    "sparsekit.training.mask_history": {"Topology": "MaskHistory"},
    "sparsekit.mirror.logger": {"wandb_runs": "Wandb"},
    "sparsekit.runs.runner": {
        "Job": "PreparedRun", "build_job": "prepare_run", "run_job": "run_prepared"
    },
}  # fmt: skip
"""What else changed its name, by the module in which it is now."""


def register() -> None:
    """Let `import` ask this module for what it does not find otherwise."""
    sys.meta_path.append(_Finder())


class _Finder:
    """Finds the modules of `MODULES` under their old names; see importlib.abc.MetaPathFinder."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in MODULES and name not in PACKAGES:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, _Loader(), is_package=name in PACKAGES)  # type: ignore[arg-type]


class _Loader:
    """Makes a module that forwards to where its content is now; see importlib.abc.Loader."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to `import` to make an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        if (old := module.__name__) in MODULES:
            _warn(old, MODULES[old])
            forward = functools.partial(_forward, old, import_module(MODULES[old]))
            module.__getattr__ = forward  # type: ignore[method-assign]


def _forward(old: str, module: ModuleType, name: str) -> Any:
    renamed = NAMES.get(module.__name__, {}).get(name)
    if renamed is not None:
        _warn(f"{old}.{name}", f"{module.__name__}.{renamed}")
    return getattr(module, renamed or name)


def _warn(old: str, new: str) -> None:
    # Frames of the import system are not counted: the third is the line that says `import`.
    text = f"{old} is now {new}; the old name goes with the next release"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
