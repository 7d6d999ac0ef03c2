"""Puts compiled kernels into a wheel, as hatchling builds it; without a compiler it has none.

An installation in place (`pip install -e`) compiles at first use instead.
"""

import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]
    """Compiles every level of vector instructions that this machine's compiler knows."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernels, and name the wheel after the platform that they are for."""
        if version == "editable":
            return
        building = _building(Path(self.root))
        built = []
        for level in building.LEVELS:
            path = building.BUILT / building.file_name(level)
            try:
                built.append(path if path.exists() else building.build(level, building.BUILT))
            except building.CannotBuild as error:
                self.app.display_warning(f"kernels for {level} are left out: {error}")
        if built:
            build_data["artifacts"] += [str(path.relative_to(self.root)) for path in built]
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"


def _building(root: Path) -> Any:
    """Load the module that compiles; its package cannot be imported without PyTorch."""
    path = root / "sparsekit" / "inference" / "building.py"
    spec = importlib.util.spec_from_file_location("building", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["building"] = module
    spec.loader.exec_module(module)
    return module
