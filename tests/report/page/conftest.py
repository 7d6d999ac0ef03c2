"""One page of everything that goes wrong with pages, and one browser for all tests of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsekit.report.collect import read_records
from sparsekit.report.page.write import write_page
from sparsekit.system.files import write_json
from tests.report.writer import Writer

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{content}}"
TRACEBACK = f"Traceback (most recent call last):\n  ValueError: {EVIL}"
SWEEP = "test-0123abcd"
CLAIMS = [
    {"says": "imp keeps more", "better": "imp", "than": "random"},
    {"says": EVIL, "better": "random", "than": "imp", "sparsity": 0.9},
    {"says": "snip is as good", "as_good": "snip", "as": "imp", "within": 0.01},
]


def history(last: float) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "val_accuracy": last * epoch / 4, "train_loss": 1 / epoch, "val_loss": 1.0}
        for epoch in (1.0, 2.0, 3.0, 4.0)
    ]


def fill_(writer: Writer) -> None:
    """Three methods at three sparsities, with evil names, a failed run and one that goes on."""
    layers = {f"layer{n}.weight": {"size": 100, "kept": 10 * n} for n in range(1, 12)}
    for seed in (0, 1):
        dense = writer.ticket(f"dense{seed}", 0.95, 0.0, history=history(0.95))
        writer.record("dense", seed, [(0.0, dense)], variant="dense")
        for method, quality in (("imp", 0.94), ("random", 0.8)):
            tickets = [
                (
                    sparsity,
                    writer.ticket(
                        f"{method}{seed}{sparsity}",
                        quality - sparsity / 10 + seed / 100,
                        sparsity,
                        more={"layers": layers, "warnings": [EVIL] if seed else []},
                        history=history(quality),
                    ),
                )
                for sparsity in (0.5, 0.9, 0.95)
            ]
            writer.record(method, seed, tickets, variant=method, overrides=[f"method={method}"],
                          claims={"time": 1.0, "list": CLAIMS})  # fmt: skip
    evil = writer.ticket("evil", 0.5, 0.9)
    writer.record("imp", 0, [(0.9, evil)], variant="evil", overrides=[f"note={EVIL}"])
    writer.record("imp", 7, [], variant="imp", status="failed", error=TRACEBACK)
    writer.record("imp", 8, [], variant="imp", status="running")


def freeze_(root: Path) -> None:
    """The files of a sweep of which one run failed before it had a record."""
    runs = [
        {"number": number, "name": name, "experiment": "test"}
        for number, name in enumerate(("imp-seed0-imp", "never-begun"))
    ]
    content = {
        "created": 1_700_000_000.0,
        "command": f"python -m sparsekit.run -m method=imp 'note={EVIL}'",
        "user": "somebody",
        "cluster": {"_target_": "sparsekit.sweeps.clusters.Slurm"},
        "code": {"commit": "0123456789abcdef", "changed": True},
        "runs": runs,
    }
    members = root / "sweeps" / SWEEP / "members"
    members.mkdir(parents=True)
    write_json(members.parent / "sweep.json", content)
    write_json(members / "0000.json", {"state": "done", "node": "node17"})
    write_json(members / "0001.json", {"state": "failed", "reason": "no data", "error": "lost"})


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store") / "runs"
    fill_(Writer(root))
    freeze_(root)
    return root


@pytest.fixture(scope="session")
def file(store: Path) -> Path:
    path = store / "pages" / "one.html"
    write_page(path, read_records([store]), title=EVIL)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    assert found, "no browser: apt-get install chromium, or say where one is by CHROMIUM="
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield one
        one.close()
