"""What is built of a configuration is called at every step of a fit: Hydra is not in between."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from sparsekit.configuration import config
from sparsekit.configuration.compose import compose_one

METHODS = ["swamp", "srigl", "sr_ste", "imp_finetune", "soup"]


def bound_in(value: Any) -> Iterator[functools.partial[Any]]:
    """Every bound function in what was built, however deep."""
    if isinstance(value, functools.partial):
        yield value
        yield from bound_in([*value.args, *value.keywords.values()])
    elif isinstance(value, dict):
        yield from bound_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from bound_in(entry)
    elif dataclasses.is_dataclass(value):
        yield from bound_in([getattr(value, field.name) for field in dataclasses.fields(value)])


@pytest.mark.parametrize("method", METHODS)
def test_functions_are_bound_by_pythons_own_partial(method: str) -> None:
    run = compose_one([f"method={method}", "train=digits", "model=resnet20"])
    built = [config.built(run.config[name]) for name in (*config.LEAVES, "prunable")]
    found = list(bound_in(built))
    assert len(found) > 5
    assert {type(one) for one in found} == {functools.partial}


@dataclasses.dataclass(frozen=True)
class Told:
    """A leaf of the user's own that is told more than it keeps."""

    schedule: Any
    more: dataclasses.InitVar[int] = 0
    kept: int = dataclasses.field(init=False, default=0)

    def __post_init__(self, more: int) -> None:
        object.__setattr__(self, "kept", more)


def test_a_dataclass_is_built_once() -> None:
    schedule = {"_target_": "sparsekit.core.learning_rates.constant", "peak": 0.1}
    told = config.build({"_target_": f"{__name__}.Told", "schedule": schedule, "more": 3})
    assert (type(told.schedule), told.schedule(0, 1), told.kept) == (functools.partial, 0.1, 3)
