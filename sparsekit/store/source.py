"""A digest of the code that a user's function stands for, so that editing it is a new result.

Code of this package has versions (`Stage.version`), and that of installed packages is pinned by
its installation. Code elsewhere is the user's own, may change, and is therefore read.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

SOURCE = "_source_"
PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = tuple(
    Path(path).resolve()
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def source_digest(target: Callable[..., Any]) -> str | None:
    """Return a digest of a user's module and of the modules of theirs that it uses.

    None for this package, for installed ones, and where there is no source to read. Comments,
    layout and docstrings do not count.
    """
    module = sys.modules.get(target.__module__)
    if module is None or _own_file(module) is None:
        return None
    return _digest(module.__name__)


def own_modules() -> dict[str, Path]:
    """Return the source file of every module of the user's that this process has imported."""
    found = {name: _own_file(module) for name, module in list(sys.modules.items())}
    return {name: file for name, file in found.items() if file and not name.startswith("__")}


@functools.cache
def _digest(name: str) -> str:
    total = hashlib.sha256()
    for module in sorted(_reached(sys.modules[name]), key=lambda one: one.__name__):
        file = _own_file(module)
        assert file is not None, "only modules of the user's are reached"
        total.update(f"{module.__name__}\n{_meaning(file)}\n".encode())
    return total.hexdigest()[:16]


def _reached(module: ModuleType) -> Iterator[ModuleType]:
    """Yield a user's module and those of the user's that its names come from, each once."""
    found: dict[str, ModuleType] = {}
    pending = [module]
    while pending:
        one = pending.pop()
        if one.__name__ in found or _own_file(one) is None:
            continue
        found[one.__name__] = one
        pending.extend(_used_by(one))
    yield from found.values()


def _used_by(module: ModuleType) -> Iterator[ModuleType]:
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
        if isinstance(name, str) and name in sys.modules:
            yield sys.modules[name]


def _module_of(value: Any) -> object:
    return getattr(value, "__module__", None) if callable(value) else None


def _own_file(module: ModuleType) -> Path | None:
    """Return the source file of a user's module; None for everything else."""
    name = getattr(module, "__file__", None)
    if not name or not name.endswith(".py"):
        return None
    file = Path(name).resolve()
    is_installed = any(file.is_relative_to(folder) for folder in (PACKAGE, *INSTALLED))
    return None if is_installed or not file.is_file() else file


def _meaning(file: Path) -> str:
    """Return the code of a file without comments, layout and docstrings."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if is_text and isinstance(first.value.value, str):  # type: ignore[union-attr]
                node.body = node.body[1:]
    return ast.dump(tree)
