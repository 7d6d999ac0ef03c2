"""Which sweeps are acted upon without being asked, and what is said of the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep, list_sweeps
from sparsekit.sweeps.trust import Untrusted, refuse_untrusted, snapshot_of
from sparsekit.system.files import write_json
from tests.sweeps.asked import asked_for

OTHER = 34567
CLUSTER = {"_target_": "sparsekit.sweeps.clusters.Slurm", "setup": ["module load cuda"]}
CONFIG = {
    "data": {"_target_": "mine.pets", "augment": [{"_target_": "torchvision.flip"}]},
    "n": 1.0,
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    run = {"config": CONFIG, "classes": {10: "a", 9: "b"}}
    content = asked_for(run, cluster=CLUSTER)
    place = freeze(tmp_path / "runs", "custom", content).folder / "code" / "now"
    (place / "mine").mkdir(parents=True)
    (place / "mine" / "pets.py").touch()
    return freeze(tmp_path / "runs", "custom", {**content, "code": {"snapshot": str(place)}})


def test_what_this_user_froze_is_trusted(sweep: Sweep) -> None:
    refuse_untrusted(Sweep(sweep.folder))


def changed(sweep: Sweep) -> None:
    write_json(sweep.folder / "sweep.json", {**sweep.frozen, "command": "another"})


def without_seal(sweep: Sweep) -> None:
    rest = {name: value for name, value in sweep.frozen.items() if name != "seal"}
    write_json(sweep.folder / "sweep.json", rest)


def without_key(sweep: Sweep) -> None:
    os.environ["XDG_STATE_HOME"] = "/proc/nowhere"


def of_another(path: str) -> Callable[[Sweep], None]:
    def give(sweep: Sweep) -> None:
        os.chown(sweep.folder / path, OTHER, -1)

    return give


SEALS = "no seal of yours"
OWNERS = f"its files belong to {OTHER}"
SNAPSHOTS = f"files of its snapshot belong to {OTHER}"
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (changed, SEALS),
        (without_seal, SEALS),
        (without_key, SEALS),
        pytest.param(of_another("."), OWNERS, marks=root),
        pytest.param(of_another("sweep.json"), OWNERS, marks=root),
        pytest.param(of_another("code/now/mine/pets.py"), SNAPSHOTS, marks=root),
    ],
)
def test_others_are_refused_with_what_they_would_call(
    spoil: Callable[[Sweep], None], reason: str, sweep: Sweep
) -> None:
    spoil(sweep)
    with pytest.raises(Untrusted) as caught:
        refuse_untrusted(Sweep(sweep.folder))
    message = str(caught.value)
    assert reason in message
    assert "imports and calls mine.pets, torchvision.flip, 1 function of sparsekit" in message
    assert "runs in a shell 'module load cuda'" in message
    assert f"runs the code in {sweep.frozen['code']['snapshot']}" in message
    assert "\n" not in message


def test_the_code_of_a_sweep_lies_in_it_wherever_that_is_and_whatever_it_names(
    sweep: Sweep, tmp_path: Path
) -> None:
    """A store that was moved runs its own code, and a hostile one not all that is on the disk."""
    copy = Path(shutil.copytree(sweep.root, tmp_path / "copy"))
    (found,) = list_sweeps(copy)
    assert snapshot_of(found) == found.folder / "code" / "now"
    for hostile, reason in (("/", "damaged"), ("/etc/..", "damaged"), ("/etc", "no seal")):
        write_json(found.file, {**found.frozen, "code": {"snapshot": hostile}})
        with pytest.raises(ValueError, match=reason) as caught:
            refuse_untrusted(Sweep(found.folder))
        assert f"runs the code in {hostile}" not in str(caught.value)
