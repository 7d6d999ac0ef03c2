"""What a `_target_` accepts, read without importing this package's heavy modules.

Importing torch, timm and Lightning takes seconds; a misspelt argument must be reported at once.
So functions and dataclasses of this package are read from their source, others by import.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparsekit.moved import MODULES, NAMES

PACKAGE = Path(__file__).parent.parent
SIMPLE = {"int", "float", "bool", "str", "None"}
LEAF, LIST, MAPPING = "a leaf with `_target_`", "list", "mapping"
CONTAINERS = {
    "Callable": LEAF,
    "Sequence": LIST,
    "tuple": LIST,
    "list": LIST,
    "Mapping": MAPPING,
    "dict": MAPPING,
}
Types = frozenset[str] | None
Source = tuple[ast.stmt, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """Arguments with their simple types (None: anything), those a configuration must give, and
    whether others are accepted as well."""

    arguments: Mapping[str, Types]
    required: tuple[str, ...]
    is_open: bool = False
    is_dataclass: bool = False


@functools.cache
def signature_of(target: str) -> Signature:
    """Return the signature of the function or class at an import path; else LookupError."""
    module, _, name = target.rpartition(".")
    if module.split(".")[0] == PACKAGE.name:
        return _from_source(module, name)
    return _from_object(imported(target))


def imported(target: str) -> Callable[..., Any]:
    """Import the function or class at an import path; LookupError if there is none."""
    module, _, name = target.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"{target!r} cannot be imported: {error}") from error
    if not callable(found):
        raise LookupError(f"{target!r} is a {type(found).__name__}, not a function or class")
    return found


def _from_object(found: Callable[..., Any]) -> Signature:
    parameters = inspect.signature(found).parameters.values()
    kinds = {p.kind for p in parameters}
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    is_dataclass = dataclasses.is_dataclass(found)
    return Signature(
        arguments={p.name: None for p in named},
        required=tuple(
            p.name
            for p in named
            if p.default is p.empty and (is_dataclass or p.kind is p.KEYWORD_ONLY)
        ),
        is_open=inspect.Parameter.VAR_KEYWORD in kinds,
        is_dataclass=is_dataclass,
    )


def _from_source(module: str, name: str) -> Signature:
    source = _source(module)
    definitions = {
        node.name: node for node in source if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    found = definitions.get(NAMES.get(MODULES.get(module, module), {}).get(name, name))
    if isinstance(found, ast.FunctionDef):
        return _of_function(found, source)
    if isinstance(found, ast.ClassDef) and _is_dataclass(found):
        return _of_dataclass(found, source)
    public = [known for known in definitions if not known.startswith("_")]
    near = difflib.get_close_matches(name, public, n=3) or sorted(public)
    raise LookupError(f"{module} has no function {name!r}; there is {', '.join(near)}")


@functools.cache
def _source(module: str) -> tuple[ast.stmt, ...]:
    path = PACKAGE.parent.joinpath(*MODULES.get(module, module).split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        raise LookupError(f"no module {module}; {_nearest_modules(path)}")
    return tuple(ast.parse(file.read_bytes()).body)


def _nearest_modules(path: Path) -> str:
    everything = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in sorted(PACKAGE.rglob("*.py"))
    ]
    wanted = ".".join(path.relative_to(PACKAGE.parent).parts)
    near = difflib.get_close_matches(wanted, everything, n=3, cutoff=0.4)
    return f"nearest: {', '.join(near)}"


def _of_function(node: ast.FunctionDef, source: Source) -> Signature:
    keyword = node.args.kwonlyargs
    required = tuple(
        a.arg for a, default in zip(keyword, node.args.kw_defaults, strict=True) if default is None
    )
    return Signature(
        arguments={a.arg: _types(a.annotation, source) for a in node.args.args + keyword},
        required=required,
        is_open=node.args.kwarg is not None,
    )


def _of_dataclass(node: ast.ClassDef, source: Source) -> Signature:
    fields = [
        item
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]
    named = {item.target.id: item for item in fields if isinstance(item.target, ast.Name)}
    return Signature(
        arguments={name: _types(item.annotation, source) for name, item in named.items()},
        required=tuple(name for name, item in named.items() if item.value is None),
        is_dataclass=True,
    )


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _types(annotation: ast.expr | None, source: Source) -> Types:
    """Name the types that an annotation allows; None if it allows any or is not understood."""
    if annotation is None:
        return None
    if isinstance(annotation, ast.BinOp):
        left, right = _types(annotation.left, source), _types(annotation.right, source)
        return None if left is None or right is None else left | right
    if isinstance(annotation, ast.Subscript):
        return _of_subscript(annotation)
    name = ast.unparse(annotation)
    if name in SIMPLE:
        return frozenset({name})
    if name in CONTAINERS:
        return frozenset({CONTAINERS[name]})
    meaning = _alias(name, source)
    return None if meaning is None else _types(*meaning)


def _of_subscript(annotation: ast.Subscript) -> Types:
    name = ast.unparse(annotation.value)
    if name == "Literal":
        options = annotation.slice
        values = options.elts if isinstance(options, ast.Tuple) else [options]
        return frozenset(ast.unparse(value) for value in values)
    return frozenset({CONTAINERS[name]}) if name in CONTAINERS else None


def _alias(name: str, source: Source) -> tuple[ast.expr, Source] | None:
    """Return what `name = ...` stands for in a module of ours, or where that imports it from."""
    for node in source:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
            return node.value, source
        if isinstance(node, ast.ImportFrom) and name in {a.name for a in node.names}:
            module = node.module or ""
            return _alias(name, _source(module)) if module.startswith(PACKAGE.name) else None
    return None
