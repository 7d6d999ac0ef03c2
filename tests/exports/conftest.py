"""A store with a multi-layer perceptron and a convolutional network, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsekit.store.store import Store
from tests.exports.networks import CNN, MLP, drawn_masks, publish


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("exports") / "runs")


@pytest.fixture(scope="session")
def mlp_ticket(store: Store) -> Path:
    return store.path(publish(store, MLP, drawn_masks(MLP, 0.1), "mlp"))


@pytest.fixture(scope="session")
def cnn_ticket(store: Store) -> Path:
    return store.path(publish(store, CNN, drawn_masks(CNN, 0.2), "cnn"))
