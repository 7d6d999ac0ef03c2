"""Keys and passwords are where they are needed, and nowhere that others may read."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from sparsekit.configuration.compose import compose_one
from sparsekit.configuration.config import ConfigError
from sparsekit.core.fit_spec import FitSpec
from sparsekit.run import main
from sparsekit.runs.runner import prepare_run
from sparsekit.sweeps.attempts import END, _shortened
from sparsekit.sweeps.freezing import freeze, is_sealed
from sparsekit.sweeps.private import NotReadable
from sparsekit.sweeps.records import Sweep, list_sweeps
from sparsekit.sweeps.trust import code_digest, refuse_untrusted
from sparsekit.training.observing import Observer
from tests.conftest import TINY
from tests.sweeps.asked import asked_for
from tests.sweeps.test_batch import answers

KEY = "deadbeef0123456789deadbeef0123456789abcd"
PASSWORDS = ("of-the-logger", "of-the-callback", "of-the-jobs", "of-the-export", KEY)
SEEN: list[str] = []
PRIVATE = "private.json"
MODULE = "tests.sweeps.test_private"


class Notifier(Callback):
    """A user's callback that logs in somewhere, and fails in a way that tells how."""

    def __init__(self, password: str, *, fails: bool) -> None:
        SEEN.append(password)
        self.password, self.fails = password, fails

    def on_train_start(self, *_: Any) -> None:
        if self.fails:
            url = f"https://me:{self.password}@host/"
            raise RuntimeError(f"no answer from {url}, asked with {os.environ['MY_API_KEY']}")


def mirror(
    key: str, spec: FitSpec, scratch: Path, about: Any, config: Any, folder: str, *, password: str
) -> Observer:
    """A user's logger, which keeps what it is told of the run's configuration."""
    SEEN.append(password)
    Path(folder, "mirror.json").write_text(json.dumps(config))
    return Observer()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", KEY)
    SEEN.clear()


def asked(store: Path, *more: str, fails: bool = False) -> list[str]:
    callback = f"{{_target_:{MODULE}.Notifier,password:of-the-callback,fails:{fails}}}"
    (store / "configs" / "logger").mkdir(parents=True, exist_ok=True)
    (store / "configs" / "logger" / "mine.yaml").write_text(f"_target_: {MODULE}.mirror\n")
    return [
        *(text for text in TINY if text != "logger=none"),
        "method=dense",
        "logger=mine",
        "logger.password=of-the-logger",
        f"callbacks.notifier={callback}",
        f"runtime.store={store}",
        *more,
    ]


def run(store: Path, *more: str, fails: bool = False) -> int:
    return main([*asked(store, *more, fails=fails), "--config-dir", str(store / "configs")])


def holding(store: Path) -> set[str]:
    """Name the files of a store that hold a password and can be read by others."""
    files = [path for path in store.rglob("*") if path.is_file()]
    found = {f for f in files if any(text.encode() in f.read_bytes() for text in PASSWORDS)}
    private = {f for f in files if stat.S_IMODE(f.stat().st_mode) & 0o077 == 0}
    assert all(f.name == PRIVATE or f.parent.name == "jobs" for f in private)
    return {str(f.relative_to(store)) for f in found - private}


@pytest.mark.parametrize("fails", [False, True])
def test_runs_have_them_and_records_do_not(
    fails: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, fails=fails) == int(fails)
    assert set(SEEN) == {"of-the-logger", "of-the-callback"}
    assert not holding(tmp_path)
    printed = capsys.readouterr()
    assert not any(text in printed.out + printed.err for text in PASSWORDS)
    assert ("https://me:<masked>@host/" in printed.err) == fails
    mirrored = json.loads((tmp_path / "mirror.json").read_text())
    assert mirrored["callbacks"]["notifier"]["password"] == "<masked>"
    (sweep,) = list_sweeps(tmp_path)
    refuse_untrusted(sweep)


WRONG = [
    "logger.password='of-the-logger",
    "logger.password:of-the-logger",
    "cluster.setup=of-the-logger",
    "seed.api_key=of-the-logger",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_mistakes_are_told_without_them(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, wrong, "-m") == 2
    printed = capsys.readouterr().err
    assert "error: " in printed
    assert not any(text in printed for text in PASSWORDS)


def test_what_is_shown_of_a_configuration_is_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_LOGIN_NAME", "me-of-the-jobs")
    more = ["cluster=slurm", "cluster.setup=['login of-the-jobs']", "--cfg", "job"]
    note = "logger.config={a:'${logger.password}',b:'${cluster.setup}',c:'${oc.env:MY_LOGIN_NAME}'}"
    assert run(tmp_path, note, *more) == 0
    printed = capsys.readouterr().out
    assert f"  _target_: {MODULE}.mirror" in printed
    assert not any(text in printed for text in PASSWORDS)
    assert run(tmp_path, "--dry-run") == 0
    assert not any(text in capsys.readouterr().out for text in PASSWORDS)


def test_an_error_is_masked_before_it_is_shortened() -> None:
    text = "x" * (END - len("RuntimeError: ") - 20) + KEY + "y" * 2 * END
    told = _shortened(RuntimeError(text))
    assert "<masked>" in told
    assert KEY[:8] not in told


def test_a_password_decides_no_result(tmp_path: Path) -> None:
    one, other = (
        prepare_run(
            compose_one(
                [text.replace("of-the-callback", word) for text in asked(tmp_path)],
                [tmp_path / "configs"],
            )
        )
        for word in ("first", "second")
    )
    assert one.name == other.name
    assert one.run.variant == other.run.variant


@pytest.mark.parametrize("executor", ["inline", "jobs"])
def test_jobs_of_slurm_have_them(
    executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    answers(tmp_path / "bin", "4711")
    (tmp_path / "bin" / "squeue").symlink_to("/bin/true")
    cluster = [
        "cluster=slurm",
        "cluster.setup=['wandb login of-the-jobs','export A=1']",
        "cluster.options={export:'ALL,A=of-the-export',nice:7}",
        f"executor={executor}",
    ]
    assert run(tmp_path / "runs", *cluster) == 0
    told = json.loads((tmp_path / "bin" / "told.json").read_text())
    assert "\nwandb login of-the-jobs\nexport A=1\n" in told["script"]
    assert "--export=ALL,A=of-the-export" not in told["options"]  # the controller has its own
    assert not holding(tmp_path / "runs")
    (sweep,) = list_sweeps(tmp_path / "runs")
    assert sweep.frozen["cluster"]["setup"] == ["<masked>", "<masked>"]
    assert sweep.frozen["cluster"]["options"] == {"export": "<masked>", "nice": 7}
    assert sweep.whole["cluster"]["options"]["export"] == "ALL,A=of-the-export"
    assert sweep.whole["runs"][0]["config"]["logger"]["password"] == "of-the-logger"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    cluster = {"_target_": "sparsekit.sweeps.clusters.Slurm", "setup": ["login pw"]}
    config = {"cluster": cluster, "runtime": {}, "logger": {"api_key": "pw"}}
    run = {"config": {name: value for name, value in config.items() if name != "runtime"}}
    return freeze(tmp_path, "custom", asked_for(run, run, cluster=cluster))


def test_what_is_frozen_is_put_together_again(sweep: Sweep) -> None:
    assert sweep.frozen["runs"][1]["config"]["logger"] == {"api_key": "<masked>"}
    config = sweep.whole["runs"][1]["config"]
    assert config["logger"] == {"api_key": "pw"}
    assert config["cluster"] == sweep.whole["cluster"]
    assert sweep.whole["cluster"]["setup"] == ["login pw"]
    assert is_sealed(sweep)
    again = {k: v for k, v in sweep.whole.items() if k not in ("seal", "salt")}
    digest = code_digest(sweep)
    again["cluster"] = {**again["cluster"], "setup": []}
    given = {"method": {}, "runtime": {}, "cluster": again["cluster"]}
    again["runs"] = [{**run, "config": given} for run in again["runs"]]
    other = freeze(sweep.root, "custom", again)
    assert other.folder == sweep.folder
    assert not (sweep.folder / PRIVATE).exists()
    assert other.whole["cluster"]["setup"] == []
    assert code_digest(other) != digest


def test_what_is_hidden_cannot_be_exchanged(sweep: Sweep) -> None:
    digest = code_digest(sweep)
    hidden = json.loads((sweep.folder / PRIVATE).read_text())
    hidden["cluster"]["setup"] = ["evil"]
    (sweep.folder / PRIVATE).write_text(json.dumps(hidden))
    assert not is_sealed(Sweep(sweep.folder))
    assert code_digest(Sweep(sweep.folder)) != digest


@pytest.mark.parametrize("damage", ["gone", "no JSON", "[]", "{}"])
def test_a_copy_without_it_says_so(sweep: Sweep, damage: str) -> None:
    copy = sweep.folder.with_name("copy")
    shutil.copytree(sweep.folder, copy)
    (copy / PRIVATE).unlink() if damage == "gone" else (copy / PRIVATE).write_text(damage)
    with pytest.raises(NotReadable, match="start the sweep again by its command"):
        Sweep(copy).whole  # noqa: B018
    assert not is_sealed(Sweep(copy))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model={_target_:tests.sweeps.test_private.mirror,password:pw}", "model: a key or pass"),
        (f"data.note={KEY}", r"data\.note: the value of \$MY_API_KEY would be stored"),
        ("data.note=${oc.env:MY_API_KEY}", r"data\.note: the value of \$MY_API_KEY would be"),
        ("data.note=of-the-logger", "the value of another setting, which is masked, would be"),
        ("logger.project=<masked>", "stands for what was not stored"),
    ],
)
def test_what_can_neither_be_stored_nor_masked_is_refused(
    override: str, message: str, tmp_path: Path
) -> None:
    from sparsekit.configuration.identity import deciding
    from sparsekit.configuration.unpublishable import refuse_secrets

    config = {**compose_one(["logger=wandb"]).config}
    config["logger"] = {**config["logger"], "password": "of-the-logger"}
    place, _, value = override.partition("=")
    part, _, name = place.partition(".")
    given = {"password": "pw"} if not name else KEY if "MY_API_KEY" in message else value
    config[part] = {**config[part], name: given} if name else given
    with pytest.raises(ConfigError, match=message):
        refuse_secrets(config, deciding(config))


@pytest.mark.parametrize(
    "hostile",
    [
        [],
        {"runs": []},
        {"runs": {"0": "x"}},
        {"runs": {"../0": {}}},
        {"runs": {}, "cluster": "x"},
        {"runs": {}, "cluster": {"setup": ["x"]}},
        {"runs": {}, "salt": ["x"]},
    ],
)
def test_what_cannot_have_been_hidden_is_refused_and_the_sweep_not_trusted(
    hostile: object, tmp_path: Path
) -> None:
    cluster = {"_target_": "sparsekit.sweeps.clusters.Inline", "setup": ["export A=1"]}
    sweep = freeze(tmp_path, "custom", asked_for(cluster=cluster))
    assert Sweep(sweep.folder).whole["cluster"] == cluster
    (sweep.folder / PRIVATE).write_text(json.dumps(hostile))
    with pytest.raises(NotReadable, match="start the sweep again by its command"):
        Sweep(sweep.folder).whole  # noqa: B018
    assert not is_sealed(Sweep(sweep.folder))
