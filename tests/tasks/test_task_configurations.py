"""What every file of configs/task has in common."""

import importlib
import pickle
from pathlib import Path

import pytest
import yaml

from sparsekit.tasks.types import Task

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "task").glob("*.yaml"))


def built(path: Path) -> Task:
    config = yaml.safe_load(path.read_text())
    module, function = config.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), function)(**config)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_described_and_builds_a_task_that_travels(path):
    assert path.read_text().startswith("# ")
    task = built(path)
    assert isinstance(task, Task)
    assert task.check is not None
    assert pickle.loads(pickle.dumps(task)).primary == task.primary


def test_all_of_them_were_found():
    names = {path.stem for path in CONFIGS}
    assert {"classification", "regression", "next_token", "next_byte", "several_labels"} <= names
