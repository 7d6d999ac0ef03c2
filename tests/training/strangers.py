"""Lightning projects that know nothing of masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from sparsekit.core import allocate, patterns, rules, scores
from sparsekit.core.movers import Gradual, Rewire
from sparsekit.core.types import Masks

NAME = "net.0.weight"


class Plain(LightningModule):
    """A network with BatchNorm; `optimizer` makes the optimizer of its parameters."""

    def __init__(self, optimizer: Any = torch.optim.AdamW, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
        self.optimizer, self.settings = optimizer, settings or {"lr": 1e-2}
        self.validated: list[Tensor] = []

    @property
    def weight(self) -> Tensor:
        return self.get_parameter(NAME)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        self.validated.append(self.weight.detach().clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.optimizer(self.parameters(), **self.settings)
        return optimizer


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(160, 16, generator=generator)
    return TensorDataset(inputs, torch.randint(0, 4, (160,), generator=generator))


def loader() -> DataLoader[Any]:
    """Ten batches of sixteen."""
    return DataLoader(data(), batch_size=16)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(data())


def trainer(callbacks: Sequence[Callback], **options: Any) -> Trainer:
    return Trainer(
        callbacks=list(callbacks),
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, "enable_checkpointing": False, "num_sanity_val_steps": 0, **options},
    )


def fifth(module: nn.Module, *names: str) -> Masks:
    """Masks that keep a fifth of the weights of these layers."""
    generator = torch.Generator().manual_seed(1)
    shapes = {name: module.get_parameter(name).shape for name in names or (NAME,)}
    return {name: torch.rand(shape, generator=generator) < 0.2 for name, shape in shapes.items()}


def rigl(interval: int = 5, **settings: Any) -> Rewire:
    return Rewire(rule=rules.rigl_rule, interval=interval, **settings)


def gmp(until: float = 0.75) -> Gradual:
    return Gradual(
        sparsity=0.9,
        score=scores.magnitude,
        allocate=allocate.globally,
        pattern=patterns.unstructured,
        interval=3,
        until=until,
    )


def dense(module: nn.Module) -> Masks:
    return {NAME: torch.ones_like(module.get_parameter(NAME), dtype=torch.bool)}


class Gan(LightningModule):
    """Two networks with an optimizer each; the second steps twice per batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = False
        self.g = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 16))
        self.d = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
        self.seen: list[Tensor] = []

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        first, second = self.optimizers()  # type: ignore[attr-defined]
        noise = torch.randn(len(batch[0]), 4)
        for _ in range(2):
            second.zero_grad()
            real, drawn = self.d(batch[0]), self.d(self.g(noise).detach())
            self.manual_backward(drawn.mean() - real.mean() + 0.1 * real.square().mean())
            second.step()
            self.seen.append(self.d.get_parameter("0.weight").detach().clone())
        first.zero_grad()
        self.manual_backward(-self.d(self.g(noise)).mean())
        first.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(net.parameters(), 1e-3) for net in (self.g, self.d)]
