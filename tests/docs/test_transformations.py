"""The page on transformations: its commands are read, its own transformation works."""

import sys
from pathlib import Path

import pytest
from torch import nn

from sparsekit.configuration.compose import compose_runs
from sparsekit.models.transformer import transformer
from sparsekit.networks.network import network_of
from tests.docs.test_snippets import blocks, commands
from tests.networks.networks import drawn_state, masks_with_empty_rows, network

PAGE = Path(__file__).parents[2] / "docs" / "transformations.md"


@pytest.mark.parametrize("arguments", commands(PAGE), ids=" ".join)
def test_commands_are_read(arguments: list[str]) -> None:
    typed = [argument for argument in arguments if argument != "-m"]
    for run in compose_runs(typed):
        assert run.config["method"]


def test_the_transformation_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_transforms.py").write_text(blocks(PAGE, "python")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_transforms", raising=False)
    from my_transforms import without_dropout  # type: ignore[import-not-found]

    before = network(transformer, 8, dtype="int64", mlp_width=32, dropout=0.1)
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before)
    after, same, _ = without_dropout(before, state, masks, None)
    rebuilt = network_of(after.record()).loaded(same)
    assert any(isinstance(module, nn.Dropout) for module in before.build().modules())
    assert not any(isinstance(module, nn.Dropout) for module in rebuilt.modules())
