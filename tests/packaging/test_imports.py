"""What `import sparsekit` gives and costs, and the names that modules had in the last release."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import sparsekit
from sparsekit.configuration.config import ConfigError, build
from sparsekit.configuration.signatures import signature_of
from sparsekit.moved import MODULES, NAMES
from sparsekit.run import main
from sparsekit.store import claims, identity, store, tensors
from sparsekit.system import files
from tests.conftest import TINY
from tests.docs.test_snippets import ROOT

OLD = """
from sparsekit import config
from sparsekit.execution import claims
from sparsekit.execution.files import spelled
from sparsekit.execution.identity import canonical, key_of
from sparsekit.execution.store import Store
from sparsekit.execution.tensors import load_ticket, save_ticket
"""
SLOW = ("lightning", "matplotlib", "scipy.stats", "sklearn", "torch._dynamo", "torchvision")
HEAVY = ("torch", "numpy", "hydra", "lightning", "sparsekit.store", "sparsekit.configuration")


def printed(code: str, folder: Path) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return finished.stdout


def test_importing_the_package_imports_nothing_of_it(tmp_path: Path) -> None:
    code = f"import sys, sparsekit; print([name for name in {HEAVY} if name in sys.modules])"
    assert printed(code, tmp_path) == "[]\n"


def test_the_help_needs_no_pytorch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sparsekit.run import main\nassert main(['--help']) == 0\n"
        "print('heavy:', [name for name in ('torch', 'lightning') if name in sys.modules])"
    )
    assert printed(code, tmp_path).endswith("heavy: []\n")


def test_public_names() -> None:
    assert sparsekit.__all__ == ["load", "masks", "results"]
    for name in sparsekit.__all__:
        assert callable(getattr(sparsekit, name))
        assert name in dir(sparsekit)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        sparsekit.lode  # noqa: B018


@pytest.mark.parametrize("old", MODULES)
def test_old_modules_forward_to_new_ones_and_say_so(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, old, raising=False)
    new = importlib.import_module(MODULES[old])
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MODULES[old]}") as caught:
        module = importlib.import_module(old)
    assert all(Path(warning.filename).name == "__init__.py" for warning in caught)
    own = [n for n, value in vars(new).items() if getattr(value, "__module__", "") == new.__name__]
    assert own
    assert all(getattr(module, name) is getattr(new, name) for name in own)


def test_lines_that_were_written_for_the_last_release(monkeypatch: pytest.MonkeyPatch) -> None:
    for old in MODULES:
        monkeypatch.delitem(sys.modules, old, raising=False)
    found: dict[str, Any] = {}
    with pytest.warns(DeprecationWarning, match="the old name goes with the next") as caught:
        exec(compile(OLD, "written_before.py", "exec"), found)
    assert {warning.filename for warning in caught} == {"written_before.py"}
    assert (found["config"].build, found["config"].ConfigError) == (build, ConfigError)
    assert found["claims"].claim is claims.claim
    assert (found["canonical"], found["key_of"]) == (identity.canonical, identity.stage_key)
    assert (found["Store"], found["spelled"]) == (store.Store, files.spelled)
    assert found["load_ticket"] is tensors.load_network
    assert found["save_ticket"] is tensors.save_network
    assert "sparsekit.store.tensors.load_network" in " ".join(str(w.message) for w in caught)


def test_renamed_names_are_there_and_others_are_not() -> None:
    for module, names in NAMES.items():
        assert module in MODULES.values()
        assert all(hasattr(importlib.import_module(module), new) for new in names.values())
    with pytest.warns(DeprecationWarning, match="sparsekit.system.files"):
        importlib.reload(importlib.import_module("sparsekit.execution.files"))
    with pytest.raises(ImportError, match="no_such_name"):
        from sparsekit.execution.files import no_such_name  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sparsekit.execution.no_such_module")


def test_no_module_of_today_has_an_old_name() -> None:
    """Finders that were there before are asked first; an old name must not hide a new module."""
    for old in MODULES:
        assert not ROOT.joinpath(*old.split(".")).with_suffix(".py").exists()
        assert find_spec(old) is not None


def test_configurations_may_name_old_modules() -> None:
    today = signature_of("sparsekit.sweeps.resources.Resources")
    assert signature_of("sparsekit.execution.resources.Resources") == today


def test_what_is_stored_is_shown_without_what_trains_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Importing that would take most of the time."""
    asked = [*TINY, "method=one_shot", "sparsity=0.8", f"runtime.store={tmp_path / 'runs'}"]
    assert main(asked) == 0
    assert "0 were there already" in capsys.readouterr().out
    code = (
        f"import sys\nfrom sparsekit.run import main\nassert main({asked}) == 0\n"
        f"print('slow:', [name for name in {SLOW} if name in sys.modules])"
    )
    *_, stages, slow = printed(code, tmp_path).splitlines()
    assert stages.startswith("0 stages were computed")
    assert slow == "slow: []"
